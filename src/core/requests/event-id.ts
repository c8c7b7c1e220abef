/**
 * An event's id is `<milliseconds>-<n>`. Ids of one request rise; a later life of the log goes on above an
 * earlier one, so an id that a client kept across a restart still means "after this".
 */
const EVENT_ID = /^(\d{1,15})-(\d{1,15})$/;

/** The two numbers of an id, `undefined` for what is none: a `Last-Event-ID` is whatever a client sends. */
export function parseEventId(id: string): readonly [ms: number, n: number] | undefined {
  const match = EVENT_ID.exec(id);
  return match ? [Number(match[1]), Number(match[2])] : undefined;
}

/**
 * Whether `id` comes after `other`; everything comes after what is no id. `isAfter("5-10", "5-9") === true`
 */
export function isAfter(id: string, other: string | undefined): boolean {
  const b = other === undefined ? undefined : parseEventId(other);
  if (!b) return true;
  const a = parseEventId(id);
  return a !== undefined && (a[0] > b[0] || (a[0] === b[0] && a[1] > b[1]));
}

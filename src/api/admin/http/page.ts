import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../core/errors/tempera-error.ts";

const LIMIT_DEFAULT = 50;
const LIMIT_MAXIMUM = 1000;

/** `limit` of a list: 1 to `maximum`. */
export const limitQuery = (maximum: number, standard: number) =>
  z
    .string()
    .regex(/^\d{1,4}$/, `Input should be an integer from 1 to ${maximum}`)
    .transform(Number)
    .refine((limit) => limit >= 1 && limit <= maximum, `Input should be an integer from 1 to ${maximum}`)
    .default(standard)
    .openapi({ type: "integer", minimum: 1, maximum, default: standard });

const CURSOR = z.string().openapi({ description: "A `next_cursor` of this list." });

/** The query of every list: `query: PAGE_QUERY.extend({ state: … })`. */
export const PAGE_QUERY = z.object({
  limit: limitQuery(LIMIT_MAXIMUM, LIMIT_DEFAULT),
  cursor: CURSOR.optional(),
});

/**
 * What every list answers beside its items (contract §10): `answer: z.object({ keys: z.array(KEY),
 * ...PAGE_ANSWER })`.
 */
export const PAGE_ANSWER = { next_cursor: z.string().nullable(), has_more: z.boolean() };

/** The answer of a list that is always whole. */
export const WHOLE = { next_cursor: null, has_more: false };

const cursorInvalid = (): TemperaError => {
  const msg = "Input should be a next_cursor of this list";
  return new TemperaError("input_invalid", `cursor: ${msg}`, {
    faults: [{ loc: ["query", "cursor"], msg, type: "value_error" }],
  });
};

/** A cursor of the values that the last item of a page is ordered by. Opaque to callers. */
export const cursorOf = (...values: (string | number)[]): string =>
  Buffer.from(JSON.stringify(values)).toString("base64url");

/** The values of a cursor, as `shape` says they must be. Throws `input_invalid` for a text that is none. */
export function readCursor<T extends z.ZodType>(cursor: string, shape: T): z.output<T> {
  try {
    return shape.parse(JSON.parse(Buffer.from(cursor, "base64url").toString("utf8")));
  } catch {
    throw cursorInvalid();
  }
}

const NEWEST_FIRST = z.tuple([
  z.int().nonnegative(),
  z.string().regex(/^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/i),
]);

/** Where a page of a list that is newest first begins: after what its cursor names. */
export function pageAfter({ cursor }: { cursor?: string | undefined }): {
  before?: { atMs: number; id: string };
} {
  if (cursor === undefined) return {};
  const [atMs, id] = readCursor(cursor, NEWEST_FIRST);
  return { before: { atMs, id } };
}

/**
 * A page of `limit` items, of one more that was asked for, and where the next one begins.
 *
 * @param cursor of an item: the values that the list is ordered by
 */
export function paged<T>(
  found: T[],
  limit: number,
  cursor: (last: T) => string,
): { items: T[]; next_cursor: string | null; has_more: boolean } {
  const items = found.slice(0, limit);
  const last = items.at(-1);
  const more = found.length > limit && last !== undefined;
  return { items, next_cursor: more ? cursor(last) : null, has_more: more };
}

/** Where a page of a list that is ordered by a text begins: after the text that its cursor names. */
export const textAfter = ({ cursor }: { cursor?: string | undefined }): string | undefined =>
  cursor === undefined ? undefined : readCursor(cursor, z.tuple([z.string()]))[0];

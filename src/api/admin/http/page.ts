import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../core/errors/tempera-error.ts";
import { parseJson, writeJson } from "../../../core/json/exact-json.ts";

const LIMIT_DEFAULT = 50;
const LIMIT_MAXIMUM = 1000;

/** Returns the schema of a list's `limit`: 1 to `maximum`. */
export function limitQuery(maximum: number, standard: number) {
  return z
    .string()
    .regex(/^\d{1,4}$/, `Input should be an integer from 1 to ${maximum}`)
    .transform(Number)
    .refine((limit) => limit >= 1 && limit <= maximum, `Input should be an integer from 1 to ${maximum}`)
    .default(standard)
    .openapi({ type: "integer", minimum: 1, maximum, default: standard });
}

const CURSOR = z.string().openapi({ description: "The `next_cursor` of the page before." });

/** The query of every list: `query: PAGE_QUERY.extend({ state: … })`. */
export const PAGE_QUERY = z.object({
  limit: limitQuery(LIMIT_MAXIMUM, LIMIT_DEFAULT),
  cursor: CURSOR.optional(),
});

/**
 * The fields of every list's response beside its items (contract §10): `response: z.object({ keys:
 * z.array(KEY), ...PAGE_FIELDS })`.
 */
export const PAGE_FIELDS = { next_cursor: z.string().nullable(), has_more: z.boolean() };

/** The page fields of a list that always has a single page. */
export const SINGLE_PAGE = { next_cursor: null, has_more: false };

const cursorInvalid = (): TemperaError => {
  const msg = "Input should be a next_cursor of this list";
  return new TemperaError("input_invalid", `cursor: ${msg}`, {
    faults: [{ loc: ["query", "cursor"], msg, type: "value_error" }],
  });
};

/**
 * Makes a cursor of the values that a list is ordered by, taken from the page's last item. Opaque to callers.
 */
export function cursorOf(...values: (string | number)[]): string {
  return Buffer.from(writeJson(values)).toString("base64url");
}

/** Reads the values of a cursor, which must fit `shape`. Throws `input_invalid` for any other text. */
export function readCursor<T extends z.ZodType>(cursor: string, shape: T): z.output<T> {
  try {
    return shape.parse(parseJson(Buffer.from(cursor, "base64url").toString("utf8")));
  } catch {
    throw cursorInvalid();
  }
}

const NEWEST_FIRST = z.tuple([
  z.int().nonnegative(),
  z.string().regex(/^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/i),
]);

/** Returns the start of a page of a newest-first list: after the item that the cursor names. */
export function pageAfter({ cursor }: { cursor?: string | undefined }): {
  before?: { atMs: number; id: string };
} {
  if (cursor === undefined) return {};
  const [atMs, id] = readCursor(cursor, NEWEST_FIRST);
  return { before: { atMs, id } };
}

/**
 * Makes a page of at most `limit` items, with the cursor of the next page.
 *
 * @param found up to `limit + 1` items; the extra one shows that there is another page
 * @param cursor returns the cursor of an item
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

/** Returns the start of a page of a list that is ordered by a text: after the text that the cursor names. */
export function textAfter({ cursor }: { cursor?: string | undefined }): string | undefined {
  return cursor === undefined ? undefined : readCursor(cursor, z.tuple([z.string()]))[0];
}

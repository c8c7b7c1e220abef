import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { Page } from "../../core/ports/delivery-store.ts";
import { isRequestId } from "../../core/request.ts";

const LIMIT_DEFAULT = 50;
const LIMIT_MAXIMUM = 1000;

const invalid = (field: string, msg: string): never => {
  throw new TemperaError("input_invalid", `${field}: ${msg}`, { faults: [{ loc: ["query", field], msg, type: "value_error" }] });
};

/** Reads `limit` (1 to 1000, 50 when absent) and `cursor` of a list that is newest first. 422 for what is neither. */
export function pageOf(c: Context): Page {
  const limit = c.req.query("limit") ?? String(LIMIT_DEFAULT);
  if (!/^\d{1,4}$/.test(limit) || Number(limit) < 1 || Number(limit) > LIMIT_MAXIMUM) {
    return invalid("limit", `Input should be an integer from 1 to ${LIMIT_MAXIMUM}`);
  }
  const cursor = c.req.query("cursor");
  if (cursor === undefined) return { limit: Number(limit) };
  const [atMs = "", requestId = ""] = Buffer.from(cursor, "base64url").toString("latin1").split(" ");
  if (!/^\d{1,15}$/.test(atMs) || !isRequestId(requestId)) return invalid("cursor", "Input should be a next_cursor of this list");
  return { limit: Number(limit), before: { atMs: Number(atMs), requestId } };
}

/** The page's items, of one more than its limit that was asked for, and where the next page begins (contract §10). */
export function paged<T extends { requestId: string; createdAtMs: number }>(
  found: T[],
  { limit }: Page,
): { items: T[]; next_cursor: string | null; has_more: boolean } {
  const items = found.slice(0, limit);
  const last = items.at(-1);
  const more = found.length > limit && last !== undefined;
  return {
    items,
    next_cursor: more ? Buffer.from(`${last.createdAtMs} ${last.requestId}`, "latin1").toString("base64url") : null,
    has_more: more,
  };
}

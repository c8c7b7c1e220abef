/** Output of commands that list things: pages of the Platform API, times and JSON. */
import { writeJson } from "../../core/json/exact-json.ts";
import type { PlatformClient } from "../platform-client.ts";

/** The largest page of the Platform API. */
const PAGE_MAX = 1000;

/** Prints a value as indented JSON. */
export function print(value: unknown): void {
  return void process.stdout.write(`${writeJson(value, 2)}\n`);
}

/** Cuts a time to seconds, for a column. */
export function shortTime(iso: string | null): string {
  return iso?.slice(0, 19) ?? "";
}

/**
 * Reads up to `limit` items of a list of the Platform API, page by page.
 *
 * @param field the field of a page that holds its items
 */
export async function listed<T>(
  client: PlatformClient,
  path: string,
  field: string,
  limit: string,
  filter: Record<string, string> = {},
  pageMax = PAGE_MAX,
): Promise<T[]> {
  const itemsMax = /^[1-9]\d{0,6}$/.test(limit) ? Number(limit) : Number.NaN;
  if (Number.isNaN(itemsMax)) throw new Error(`--limit ${limit} is not a number from 1 to 9999999.`);
  const items: T[] = [];
  let cursor: string | null = null;
  do {
    const query = new URLSearchParams({
      ...filter,
      limit: String(Math.min(itemsMax - items.length, pageMax)),
      ...(cursor && { cursor }),
    });
    const page: Record<string, unknown> = await client.admin("GET", `${path}?${query}`);
    items.push(...(page[field] as T[]));
    cursor = page.next_cursor as string | null;
  } while (cursor && items.length < itemsMax);
  return items;
}

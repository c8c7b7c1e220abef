import type { PlatformClient } from "../platform-client.ts";

/** The most that one page of the Platform API has. */
const PAGE_MAX = 1000;

/** Prints a value as indented JSON. */
export const print = (value: unknown): void =>
  void process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);

/** A time to the second, for a column. */
export const shortTime = (iso: string | null): string => iso?.slice(0, 19) ?? "";

/** Up to `limit` items of a list of the Platform API, page by page. */
export async function listed<T>(
  client: PlatformClient,
  path: string,
  field: string,
  limit: string,
  filter: Record<string, string> = {},
  pageMax = PAGE_MAX,
): Promise<T[]> {
  const wanted = /^[1-9]\d{0,6}$/.test(limit) ? Number(limit) : Number.NaN;
  if (Number.isNaN(wanted)) throw new Error(`--limit ${limit} is not a number from 1 to 9999999.`);
  const items: T[] = [];
  let cursor: string | null = null;
  do {
    const query = new URLSearchParams({
      ...filter,
      limit: String(Math.min(wanted - items.length, pageMax)),
      ...(cursor && { cursor }),
    });
    const page: Record<string, unknown> = await client.admin("GET", `${path}?${query}`);
    items.push(...(page[field] as T[]));
    cursor = page.next_cursor as string | null;
  } while (cursor && items.length < wanted);
  return items;
}

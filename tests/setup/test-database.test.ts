import postgres from "postgres";
import { expect, test } from "vitest";
import { leakCheck } from "./leak-check.ts";
import { testDatabase } from "./test-database.ts";

leakCheck();

test("gives each test a migrated database of its own, and drops it at its end", async () => {
  let name = "";
  {
    await using first = await testDatabase();
    await using second = await testDatabase();
    expect(first.url).not.toBe(second.url);
    name = new URL(first.url).pathname.slice(1);
    expect(await tables(first.url)).toContain("schema_migrations");
    expect(await tables(second.url)).toEqual(await tables(first.url));
  }
  expect(
    await query(process.env.TEST_DATABASE_URL ?? "", `select 1 from pg_database where datname = '${name}'`),
  ).toEqual([]);
});

const tables = async (url: string) =>
  (await query(url, "select tablename from pg_tables where schemaname = 'public' order by 1")).map(
    (row) => row.tablename,
  );

async function query(url: string, statement: string): Promise<postgres.Row[]> {
  const sql = postgres(url, { max: 1 });
  try {
    return [...(await sql.unsafe(statement))];
  } finally {
    await sql.end();
  }
}

import { randomBytes } from "node:crypto";
import postgres from "postgres";
import { migrate } from "../../src/adapters/postgres/migrate.ts";

/** SQLSTATE of a connection that this role may not end. */
const INSUFFICIENT_PRIVILEGE = "42501";

/** A migrated, empty database for one test, dropped by `await using` or `drop`. */
export interface TestDatabase extends AsyncDisposable {
  url: string;
  drop(): Promise<void>;
}

/**
 * Clones the migrated template of this run, which the first caller creates. Takes tens of milliseconds.
 *
 *     await using database = await testDatabase();
 */
export async function testDatabase(): Promise<TestDatabase> {
  const server = requiredEnv("TEST_DATABASE_URL");
  const run = requiredEnv("TEST_RUN");
  const template = `tempera_template_${run}`;
  const name = `tempera_test_${run}_${randomBytes(4).toString("hex")}`;
  await asAdmin(server, async (sql) => {
    // One clone at a time: a template cannot be cloned while a client is connected to it.
    await sql`select pg_advisory_lock(hashtext(${template}))`;
    const [existing] = await sql`select 1 from pg_database where datname = ${template}`;
    if (!existing) await createTemplate(sql, server, template);
    await sql`create database ${sql(name)} template ${sql(template)}`;
  });
  const drop = () => asAdmin(server, (sql) => dropDatabase(sql, name));
  return { url: databaseUrl(server, name), drop, [Symbol.asyncDispose]: drop };
}

/** Drops a database, with the connections to it. */
async function dropDatabase(sql: postgres.Sql, name: string): Promise<void> {
  try {
    await sql`drop database if exists ${sql(name)} with (force)`;
  } catch (error) {
    if ((error as { code?: string }).code !== INSUFFICIENT_PRIVILEGE) throw error;
    // An autovacuum worker is a superuser's connection. A drop without force stops it, and waits for its end.
    await sql`drop database if exists ${sql(name)}`;
  }
}

/** Drops the databases of a run on a server that the run did not start. */
export async function dropTestDatabases(server: string, run: string): Promise<void> {
  await asAdmin(server, async (sql) => {
    const left = await sql<{ datname: string }[]>`
      select datname from pg_database
      where datname = ${`tempera_template_${run}`} or datname like ${`tempera\\_test\\_${run}\\_%`}`;
    for (const { datname } of left) await dropDatabase(sql, datname);
  });
}

/** Creates the template, and names it so only after its migrations, so that a failed one is not used. */
async function createTemplate(sql: postgres.Sql, server: string, template: string): Promise<void> {
  const unfinished = `${template}_unfinished`;
  await sql`drop database if exists ${sql(unfinished)} with (force)`;
  await sql`create database ${sql(unfinished)}`;
  await migrate(databaseUrl(server, unfinished));
  await sql`alter database ${sql(unfinished)} rename to ${sql(template)}`;
}

async function asAdmin<T>(server: string, work: (sql: postgres.Sql) => Promise<T>): Promise<T> {
  const sql = postgres(server, { max: 1, onnotice: () => {} });
  try {
    return await work(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

function databaseUrl(server: string, name: string): string {
  const url = new URL(server);
  url.pathname = `/${name}`;
  return url.href;
}

function requiredEnv(name: string): string {
  const value = process.env[name];
  if (!value)
    throw new Error(`${name} is not set: this test belongs to the vitest projects that start services`);
  return value;
}

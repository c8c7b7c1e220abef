/**
 * TLS and mutual TLS to Temporal, PostgreSQL, Redis and the object store. PostgreSQL and Redis speak TLS
 * themselves. Temporal's development server and MinIO are behind a TLS proxy of this test, which requires a
 * client certificate as they would.
 */
import { randomUUID } from "node:crypto";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer, type Server } from "node:tls";
import { Redis } from "ioredis";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createS3ObjectStore } from "../../src/adapters/object-store/s3-object-store.ts";
import { answer, connectPostgres } from "../../src/adapters/postgres/connection.ts";
import { migrate } from "../../src/adapters/postgres/migrate.ts";
import { connectRedis } from "../../src/adapters/redis/connection.ts";
import { connectTemporal } from "../../src/adapters/temporal/connect.ts";
import { startPlatform } from "../../src/bin/platform.ts";
import { readServiceTls } from "../../src/bin/service-tls.ts";
import { loadConfig } from "../../src/config/load-config.ts";
import { createLogger } from "../../src/config/logger.ts";
import type { ServiceTls } from "../../src/core/operations/service-tls.ts";
import { freePort } from "../../src/dev/services/port.ts";
import { startPostgres } from "../../src/dev/services/postgres.ts";
import { startRedis } from "../../src/dev/services/redis.ts";
import type { Service } from "../../src/dev/services/service.ts";
import { createTestAuthority, type TestAuthority } from "./certificates.ts";

/** A name in the servers' certificates beside `localhost` that has no address. */
const INTERNAL = "service.internal";

let folder: string;
let authority: TestAuthority;
let stranger: TestAuthority;
let good: ServiceTls & { cert: string; key: string };
let files: { ca: string; cert: string; key: string };
/** A certificate that the servers' authority did not issue. */
let unknown: { cert: string; key: string };
const services: Service[] = [];
const ends: Server[] = [];
const at = { temporal: "", postgres: "", redis: "", s3: "" };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-tls-"));
  authority = await createTestAuthority(folder, "services");
  stranger = await createTestAuthority(folder, "stranger");
  const server = await authority.issue("server", ["localhost", INTERNAL], "server");
  const client = await authority.issue("client", ["tempera"], "client");
  unknown = await stranger.issue("client", ["tempera"], "client");
  good = { ca: authority.ca, cert: client.cert, key: client.key };
  files = { ca: authority.caFile, cert: client.certFile, key: client.keyFile };
  const [database, redis] = await Promise.all([
    startPostgres({ folder: join(folder, "postgres"), fast: true, attribute: "SUPERUSER", log: () => {} }),
    startRedis({ folder: join(folder, "redis"), log: () => {} }),
  ]);
  services.push(database, redis);
  at.postgres = await postgresOverTls(database.url, server);
  at.redis = await redisOverTls(redis.url, server);
  at.temporal = `localhost:${await tlsEnd(process.env.TEST_TEMPORAL_ADDRESS ?? "", server)}`;
  at.s3 = `https://localhost:${await tlsEnd(new URL(process.env.TEST_S3_ENDPOINT ?? "").host, server)}`;
});
afterAll(async () => {
  for (const end of ends) end.close();
  await Promise.all(services.map((service) => service.stop()));
  await rm(folder, { recursive: true, force: true });
});

/** Starts a TLS proxy in front of a server without TLS. It requires a client certificate of the authority. */
async function tlsEnd(target: string, { cert, key }: { cert: string; key: string }): Promise<number> {
  const [, host = "", port = ""] = /^(.*):(\d+)$/.exec(target) ?? [];
  const end = createServer(
    {
      cert,
      key,
      ca: authority.ca,
      requestCert: true,
      rejectUnauthorized: true,
      ALPNProtocols: ["h2", "http/1.1"],
    },
    (socket) => {
      const inner = connect(Number(port), host);
      socket.pipe(inner).pipe(socket);
      socket.on("error", () => inner.destroy());
      inner.on("error", () => socket.destroy());
    },
  );
  end.on("tlsClientError", () => {});
  ends.push(end);
  await new Promise<void>((resolve) => end.listen(0, "127.0.0.1", resolve));
  return (end.address() as AddressInfo).port;
}

/**
 * Makes PostgreSQL accept only TLS with a client certificate. The server writes the files itself, since it
 * must own them.
 */
async function postgresOverTls(url: string, server: { cert: string; key: string }): Promise<string> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  const rows = await sql`
    SELECT current_setting('data_directory') AS data, current_setting('hba_file') AS hba`;
  const [{ data, hba }] = rows as unknown as [{ data: string; hba: string }];
  const write = (path: string, text: string) =>
    sql.unsafe(`COPY (SELECT unnest(string_to_array('${text.trim()}', E'\\n'))) TO '${path}'`);
  await write(join(data, "tls.crt"), server.cert);
  await write(join(data, "tls.key"), server.key);
  // The server itself knows its folder by another path.
  await chmod(join(folder, "postgres/data/tls.key"), 0o600);
  await write(join(data, "tls-ca.crt"), authority.ca);
  await write(hba, "hostssl all all 127.0.0.1/32 trust clientcert=verify-ca");
  for (const [name, value] of Object.entries({
    ssl_cert_file: "tls.crt",
    ssl_key_file: "tls.key",
    ssl_ca_file: "tls-ca.crt",
    ssl: "on",
  }))
    await sql.unsafe(`ALTER SYSTEM SET ${name} = '${value}'`);
  await sql`SELECT pg_reload_conf()`;
  // The server reloads its files before its sessions do.
  while ((await sql`SHOW ssl`)[0]?.ssl !== "on");
  await sql.end();
  return url.replace("127.0.0.1", "localhost");
}

async function redisOverTls(url: string, { cert, key }: { cert: string; key: string }): Promise<string> {
  const pemPath = (name: string): string => join(folder, `redis-${name}.pem`);
  await Promise.all([writeFile(pemPath("cert"), cert), writeFile(pemPath("key"), key)]);
  const port = await freePort();
  const redis = new Redis(url);
  const tls = [
    "tls-cert-file",
    pemPath("cert"),
    "tls-key-file",
    pemPath("key"),
    "tls-ca-cert-file",
    authority.caFile,
    "tls-auth-clients",
    "yes",
  ];
  await redis.config("SET", ...(tls as [string, string]));
  await redis.config("SET", "tls-port", String(port));
  await redis.quit();
  return `redis://:${new URL(url).password}@localhost:${port}`;
}

/** Sends a service one request. Rejects when it cannot be reached with these certificates. */
const ASK: Record<keyof typeof at, (tls: ServiceTls) => Promise<unknown>> = {
  temporal: async (tls) => {
    const { client, connection } = await connectTemporal(
      { address: at.temporal, namespace: "default", tls },
      5_000,
    );
    await client.workflowService.getSystemInfo({}).finally(() => connection.close());
  },
  postgres: async (tls) => {
    const sql = connectPostgres(at.postgres, { maxConnections: 1, tls });
    const [row] = await sql`SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()`.finally(() =>
      sql.end(),
    );
    expect(row).toEqual({ ssl: true });
  },
  redis: async (tls) => {
    const { client, answer } = connectRedis({ url: at.redis, answerMs: 3_000, tls });
    await answer(client.ping()).finally(() => client.disconnect());
  },
  s3: async (tls) => {
    const store = await createS3ObjectStore({
      endpoint: at.s3,
      bucket: "tls",
      region: "us-east-1",
      ...s3Keys(),
      tls,
    });
    await store.put("a", Buffer.from("over TLS"), { bytes: 8, contentType: "text/plain" });
    const found = await store.get("a");
    expect(found?.info.bytes).toBe(8);
    found?.body.destroy();
  },
};
const s3Keys = () => ({
  accessKey: process.env.TEST_S3_ACCESS_KEY ?? "",
  secretKey: process.env.TEST_S3_SECRET_KEY ?? "",
});

describe.each(Object.keys(ASK) as (keyof typeof at)[])("%s", (service) => {
  const ask = (tls: ServiceTls) =>
    ASK[service](tls).then(
      () => "answered",
      (error: Error) => `refused: ${error.message}`,
    );

  it("serves a client that trusts its authority and has a certificate of it", async () =>
    expect(await ask(good)).toBe("answered"));

  it("may have another name, which the client then requires", async () =>
    expect(await ask({ ...good, serverName: INTERNAL })).toBe("answered"));

  it("is refused under a name that its certificate lacks", async () =>
    expect(await ask({ ...good, serverName: "elsewhere.internal" })).toMatch(/^refused/));

  it("is refused when another authority issued its certificate", async () =>
    expect(await ask({ ...good, ca: stranger.ca })).toMatch(/^refused/));

  it("refuses a client without a certificate, and with one of another authority", async () => {
    expect(await ask({ ca: authority.ca })).toMatch(/^refused/);
    expect(await ask({ ca: authority.ca, ...unknown })).toMatch(/^refused/);
  });
});

it.each([
  ["of another authority", () => ({ ...good, ca: stranger.ca })],
  ["for another name", () => ({ ...good, serverName: "elsewhere.internal" })],
])("PostgreSQL with a certificate %s is a store that cannot be used", async (_, tls) => {
  const sql = connectPostgres(at.postgres, { maxConnections: 1, tls: tls() });
  await expect(answer(sql, sql`SELECT 1`)).rejects.toMatchObject({ code: "store_unavailable" });
  await sql.end({ timeout: 1 });
});

describe("PostgreSQL's migrations", () => {
  it("run over mutual TLS, by either name, and leave no key behind", async () => {
    await migrate(at.postgres, { tls: good });
    await migrate(at.postgres, { tls: { ...good, serverName: INTERNAL } });
  });

  it("are refused between strangers, either way", async () => {
    await expect(migrate(at.postgres, { tls: { ...good, ca: stranger.ca } })).rejects.toMatchObject({
      code: "store_unavailable",
    });
    await expect(migrate(at.postgres, { tls: { ca: authority.ca } })).rejects.toMatchObject({
      code: "store_unavailable",
    });
  });
});

it("a whole platform runs a job with every service behind mutual TLS", async () => {
  const tls = (names: [string, string, string]) => ({
    [names[0]]: files.ca,
    [names[1]]: files.cert,
    [names[2]]: files.key,
  });
  const of = (service: string) =>
    tls([`TEMPERA_${service}_TLS_CA`, `TEMPERA_${service}_TLS_CERT`, `TEMPERA_${service}_TLS_KEY`]);
  const config = loadConfig({
    TEMPERA_PORT: String(await freePort()),
    TEMPERA_ADMIN_PORT: "0",
    TEMPERA_DATA: folder,
    TEMPERA_LOG_LEVEL: "silent",
    TEMPERA_TEST_MODELS: "true",
    TEMPERA_WORKER_MODELS: "tempera/stub",
    TEMPERA_REDIS_PREFIX: `test-${randomUUID()}:`,
    TEMPORAL_NAMESPACE: `tls-${randomUUID()}`,
    TEMPORAL_ADDRESS: at.temporal,
    DATABASE_URL: at.postgres,
    REDIS_URL: at.redis.replace("localhost", "127.0.0.1"),
    TEMPERA_REDIS_TLS_SERVER_NAME: INTERNAL,
    S3_ENDPOINT: at.s3,
    S3_ACCESS_KEY: s3Keys().accessKey,
    S3_SECRET_KEY: s3Keys().secretKey,
    ...tls([
      "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
      "TEMPORAL_TLS_CLIENT_CERT_PATH",
      "TEMPORAL_TLS_CLIENT_KEY_PATH",
    ]),
    ...of("POSTGRES"),
    ...of("REDIS"),
    ...of("S3"),
  });
  const platform = await startPlatform(config, createLogger(config.log, "test"), () => {});
  try {
    const answer = await fetch(`${platform.url}/tempera/stub`, {
      method: "POST",
      headers: { authorization: `Key ${platform.key}` },
      body: JSON.stringify({ prompt: "behind TLS", artifact_bytes: 100_000 }),
    });
    expect([answer.status, await answer.json()]).toEqual([
      200,
      expect.objectContaining({ echo: "behind TLS" }),
    ]);
  } finally {
    await platform.stop();
  }
});

describe("a wrong configuration is named", () => {
  const read = (env: Record<string, string>) =>
    readServiceTls(loadConfig({ TEMPERA_CONFIG: "", DATABASE_URL: "postgres://db/x", ...env }), "postgres");

  it("reports a missing file, a file with other content, a certificate without its key", async () => {
    await expect(read({ TEMPERA_POSTGRES_TLS_CA: join(folder, "none") })).rejects.toThrow(
      /^TEMPERA_POSTGRES_TLS_CA names .*none, which cannot be read \(ENOENT\)/,
    );
    await expect(read({ TEMPERA_POSTGRES_TLS_CA: files.key })).rejects.toThrow(
      /TEMPERA_POSTGRES_TLS_CA .* holds no certificate in PEM form/,
    );
    await expect(read({ TEMPERA_POSTGRES_TLS_CERT: files.cert })).rejects.toThrow(
      /TEMPERA_POSTGRES_TLS_CERT is set alone; set .* and TEMPERA_POSTGRES_TLS_KEY/,
    );
    expect(await read({})).toBeUndefined();
    expect(await read({ TEMPERA_POSTGRES_TLS: "true" })).toEqual({});
    await expect(read({ TEMPERA_POSTGRES_TLS: "true", DATABASE_URL: "" })).rejects.toThrow(
      /TEMPERA_POSTGRES_TLS .* is set, but not DATABASE_URL/,
    );
  });

  it("shows no text of a key file", async () =>
    expect(read({ TEMPERA_POSTGRES_TLS_CA: files.key })).rejects.not.toThrow(/PRIVATE KEY-----\n/));
});

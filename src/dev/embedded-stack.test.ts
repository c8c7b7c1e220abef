import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, readlink, rm } from "node:fs/promises";
import { type IncomingMessage, type OutgoingHttpHeaders, request } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Connection, type TLSConfig } from "@temporalio/client";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, test } from "vitest";
import { leakCheck } from "../../tests/setup/leak-check.ts";
import type { ServiceTls } from "../core/operations/service-tls.ts";
import { type EmbeddedStack, startEmbeddedStack } from "./embedded-stack.ts";
import { isAlive } from "./services/install-lock.ts";
import { freePort } from "./services/port.ts";
import { makeClientCertificates } from "./temporal/client-certificates.ts";
import { clientTls, startClosedTemporal } from "./temporal/closed-temporal.ts";
import { findOwnNetwork } from "./temporal/own-network.ts";

leakCheck();

const hasOwnNetwork = (await findOwnNetwork()) !== undefined;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-stack-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const freePorts = async () => ({
  temporal: await freePort(),
  temporalUi: await freePort(),
  postgres: await freePort(),
});

test("starts the wanted services, and restarts a killed one at the same address", async () => {
  const lines: string[] = [];
  await using stack = await startEmbeddedStack({
    folder,
    ports: await freePorts(),
    wants: { temporal: true, postgres: true },
    log: (line) => lines.push(line),
  });
  const before = { temporal: stack.temporal, postgres: stack.postgres };
  expect((await fetch(before.temporal?.uiUrl ?? "")).status).toBe(401);

  before.temporal?.kill();
  before.postgres?.kill();
  await expect.poll(() => lines).toEqual(expect.arrayContaining(["Temporal is back", "PostgreSQL is back"]));
  expect([stack.temporal?.url, stack.postgres?.url]).toEqual([before.temporal?.url, before.postgres?.url]);
  expect([stack.temporal?.pid, stack.postgres?.pid]).not.toContain(before.temporal?.pid);

  // With the credential of the first start.
  expect(await isServed(stack.temporal?.url ?? "", stack.temporal?.tls)).toBe(true);

  // The way to Temporal's server and its UI is a process of its own.
  lines.length = 0;
  for (const pid of await doors()) process.kill(pid, "SIGKILL");
  await expect.poll(() => lines).toContain("Temporal is back");
  expect(await isServed(stack.temporal?.url ?? "", stack.temporal?.tls)).toBe(true);

  await stack.stop();
  expect(await doors()).toEqual([]);
  expect([stack.temporal?.pid, stack.postgres?.pid].map((pid) => isAlive(pid ?? 0))).toEqual([false, false]);
});

/** Finds the doors that this process has opened. */
async function doors(): Promise<number[]> {
  const { stdout } = await promisify(execFile)("ps", ["-eo", "pid=,ppid=,args="]);
  return stdout.split("\n").flatMap((line) => {
    const [, pid, parent, args = ""] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line) ?? [];
    return Number(parent) === process.pid && args.includes("door.mjs") ? [Number(pid)] : [];
  });
}

async function isServed(address: string, tls?: ServiceTls): Promise<boolean> {
  const connection = await Connection.connect({
    address,
    connectTimeout: 5_000,
    ...(tls && { tls: tlsOf(tls) }),
  }).catch(() => undefined);
  await connection?.close();
  return connection !== undefined;
}
const tlsOf = ({ ca = "", cert, key, serverName = "" }: ServiceTls): TLSConfig => ({
  serverNameOverride: serverName,
  serverRootCACertificate: Buffer.from(ca),
  ...(cert && key && { clientCertPair: { crt: Buffer.from(cert), key: Buffer.from(key) } }),
});

/** Sends a request as another user of this machine, or as a browser for some page, may. */
async function ask(port: number, headers: OutgoingHttpHeaders, method = "GET", path = "/"): Promise<number> {
  const sent = request({ port, host: "127.0.0.1", path, method, headers }).end();
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  response.resume();
  await once(response, "end");
  return response.statusCode ?? 0;
}

describe("another user of this machine, and a page in an operator's browser", () => {
  let stack: EmbeddedStack;
  let data: string;
  let authorization: string;
  let port: number;
  beforeAll(async () => {
    data = await mkdtemp(join(tmpdir(), "tempera-stack-"));
    stack = await startEmbeddedStack({
      folder: data,
      ports: await freePorts(),
      wants: { temporal: true, postgres: false },
      log: () => {},
    });
    port = stack.ports.temporalUi;
    const password = (await readFile(join(data, "temporal/password"), "utf8")).trim();
    authorization = `Basic ${Buffer.from(`anybody:${password}`).toString("base64")}`;
  });
  afterAll(async () => {
    await stack.stop();
    await rm(data, { recursive: true, force: true });
  });
  const host = () => `localhost:${port}`;
  const WORKFLOWS = "/api/v1/namespaces/tempera/workflows";

  it("reads nothing of the Temporal UI without its password", async () => {
    expect(await ask(port, { host: host() }, "GET", WORKFLOWS)).toBe(401);
    const wrong = `Basic ${Buffer.from("tempera:tempera").toString("base64")}`;
    expect(await ask(port, { host: host(), authorization: wrong }, "GET", WORKFLOWS)).toBe(401);
    // The UI is there before it has reached the server.
    await expect.poll(() => ask(port, { host: host(), authorization }, "GET", WORKFLOWS)).toBe(200);
    expect(await ask(port, { host: `127.0.0.1:${port}`, authorization })).toBe(200);
  });

  it.each(["evil.example", "evil.example:8233", "localhost.evil.example", "localhost", "127.0.0.1:1"])(
    "is refused under the foreign name %j, as after DNS rebinding",
    async (name) => expect(await ask(port, { host: name, authorization }, "GET", WORKFLOWS)).toBe(403),
  );

  it.each([
    ["POST", { origin: "https://evil.example" }],
    ["POST", { origin: "http://localhost:8080" }],
    ["POST", { origin: "null" }],
    ["POST", { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" }],
    ["GET", { "sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors" }],
    ["GET", { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe" }],
  ])("cannot use the password of a browser: %s %j", async (method, headers) =>
    expect(await ask(port, { host: host(), authorization, ...headers }, method, WORKFLOWS)).toBe(403),
  );

  it("an operator can follow a link to the UI", async () => {
    const link = {
      "sec-fetch-site": "cross-site",
      "sec-fetch-mode": "navigate",
      "sec-fetch-dest": "document",
    };
    expect(await ask(port, { host: host(), authorization, ...link })).toBe(200);
  });

  it.runIf(hasOwnNetwork)("cannot use Temporal's server without the platform's certificate", async () => {
    const { url, tls } = stack.temporal ?? { url: "" };
    const stranger = clientTls(await makeClientCertificates(join(data, "stranger")));
    expect(await isServed(url)).toBe(false);
    expect(await isServed(url, { ca: tls?.ca ?? "", serverName: "localhost" })).toBe(false);
    expect(await isServed(url, { ...stranger, ca: tls?.ca ?? "" })).toBe(false);
    expect(await isServed(url, tls)).toBe(true);
  });

  it.runIf(hasOwnNetwork)("finds no other port of Temporal: it has a network of its own", async () => {
    const { pid = 0 } = stack.temporal ?? {};
    const own = await readlink("/proc/self/ns/net");
    expect(await readlink(`/proc/${pid}/ns/net`)).not.toBe(own);
    expect(await readlink("/proc/self/ns/net")).toBe(own);
  });
});

test("a host that permits no network of its own has a closed UI all the same", async () => {
  const { temporal: port, temporalUi: uiPort } = await freePorts();
  const certificates = await makeClientCertificates(join(folder, "tls"));
  const options = { folder, port, uiPort, certificates, network: undefined, log: () => {} };
  await using temporal = await startClosedTemporal(options);
  expect(temporal.tls).toBeUndefined();
  expect(await isServed(temporal.url)).toBe(true);
  expect(await ask(uiPort, { host: `localhost:${uiPort}` })).toBe(401);
  expect(await ask(uiPort, { host: "evil.example" })).toBe(403);
});

test("two first starts at the same time find ports of their own", async () => {
  const stackIn = (name: string) =>
    startEmbeddedStack({
      folder: join(folder, name),
      ports: {},
      wants: { temporal: true, postgres: true },
      log: () => {},
    });
  const [first, second] = await Promise.all([stackIn("first"), stackIn("second")]);
  try {
    const ports = [...Object.values(first.ports), ...Object.values(second.ports)];
    expect(new Set(ports).size).toBe(6);
  } finally {
    await Promise.all([first.stop(), second.stop()]);
  }
});

test("starts no service that is not wanted", async () => {
  await using stack = await startEmbeddedStack({
    folder,
    ports: await freePorts(),
    wants: { temporal: false, postgres: false },
    log: () => {},
  });
  expect([stack.temporal, stack.postgres]).toEqual([undefined, undefined]);
});

test("fails as a whole for a port in use, and names its owner and its variable", async () => {
  const ports = await freePorts();
  const other = createServer().listen(ports.temporalUi, "127.0.0.1");
  await once(other, "listening");
  const start = startEmbeddedStack({
    folder,
    ports,
    wants: { temporal: true, postgres: true },
    log: () => {},
  });
  await expect(start).rejects.toThrow(
    `port ${ports.temporalUi} (Temporal UI) is in use; ` +
      "set TEMPERA_TEMPORAL_UI_PORT or stop the other program",
  );
  other.close();
  await once(other, "close");
});

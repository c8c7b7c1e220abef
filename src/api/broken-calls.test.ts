/** Callers who break off: it is their doing, so no line above debug is logged, and nothing is left behind. */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  constants,
} from "node:http2";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { wideBudgets } from "../../tests/setup/wide-budgets.ts";
import { createMemoryEventLog } from "../adapters/memory/event-log.ts";
import { openLocalAuthority } from "../adapters/tls/local-authority.ts";
import type { ModelVersion } from "../core/models/model.ts";
import { systemClock } from "../core/operations/clock.ts";
import { createInputCheck } from "../registry/input-check.ts";
import { createAuthFailures } from "./auth/auth-failure-limiter.ts";
import type { ApiDependencies } from "./dependencies.ts";
import { createGateway } from "./gateway.ts";
import { type HttpServer, listen } from "./http/listen.ts";

const MODEL = {
  endpoint: "a/b",
  version: "1.0.0",
  digest: "d",
  retry: { attemptsMax: 1, initialMs: 1, backoff: 1, maximumMs: 1 },
  timeouts: { heartbeatMs: 1000, runMs: 1000, loadMs: 1000 },
  schemas: { input: { type: "object", properties: { prompt: { type: "string" } } }, output: {} },
  restrictions: [],
} as unknown as ModelVersion;

/** Lines above debug, from the log and from the console, and rejections that nobody handled. */
let logged: unknown[];
let server: HttpServer;
/** The same gateway over TLS, for HTTP/2. */
let secure: HttpServer;
let folder: string;
let certificate: { cert: string; key: string };
let events: ReturnType<typeof createMemoryEventLog>;
/** Resolves when a call has reached the part of the gateway that the test is about. */
let reached: Promise<void>;
/** The jobs that were cancelled. */
let cancelled: string[];

const note = (...line: unknown[]): void => void logged.push(line);
const unhandled = (error: unknown): void => note("unhandled", error);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tempera-test-"));
  certificate = await (
    await openLocalAuthority({ folder, names: ["localhost"], clock: systemClock })
  ).certificate();
});
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(async () => {
  logged = [];
  cancelled = [];
  events = createMemoryEventLog();
  let reach = (): void => {};
  reached = new Promise((resolve) => {
    reach = resolve;
  });
  for (const method of ["info", "log", "warn", "error"] as const)
    vi.spyOn(console, method).mockImplementation(note);
  process.on("unhandledRejection", unhandled);
  const api = {
    registry: {
      route: () => ({ model: MODEL, checkInput: createInputCheck(MODEL) }),
      hasApp: () => true,
      list: () => [],
      pipelines: () => [],
    },
    flags: { isOn: () => true },
    keyRing: { authenticate: async () => ({ ownerId: "ann", keyId: "k", scope: "API" }) },
    jobs: {
      start: async () => reach(),
      describe: async () => undefined,
      outcome: async () => undefined,
      cancel: async (id: string) => void cancelled.push(id),
    },
    webhookOf: () => undefined,
    events,
    requests: { insert: async () => {}, find: async () => undefined },
    limits: {
      countCall: async () => reach(),
      countUploadBytes: async () => () => {},
      reserveQueued: async () => undefined,
      reserveSpend: async () => undefined,
      checkStorage: async () => {},
      of: async () => ({ owner: {}, key: {} }),
    },
    files: { begin: async () => reach(), announce: async () => {} },
    objects: {
      put: async (_key: string, body: Readable) => {
        for await (const _ of body);
      },
      head: async () => ({ bytes: 1e9, contentType: "image/png" }),
      get: async () => {
        reach();
        return { info: { bytes: 1e9 }, body: Readable.from(endless(), { objectMode: false }) };
      },
    },
    storageDefaults: { of: () => undefined },
    authFailures: createAuthFailures(),
    clock: { nowMs: () => 0 },
    log: { debug() {}, info() {}, warn: note, error: note },
    bodyBytesMax: 10_000,
    budgets: wideBudgets(),
    uploadSecret: Buffer.alloc(32),
    publicUrl: undefined,
  };
  const gateway = createGateway(api as unknown as ApiDependencies);
  const options = { host: "127.0.0.1", port: 0, name: "test", setting: "NONE" };
  server = await listen(gateway, options);
  secure = await listen(gateway, { ...options, tls: { ...certificate, log: { debug() {} } } });
});
afterEach(async () => {
  await server.stop(0);
  await secure.stop(0);
  await events.close();
  process.off("unhandledRejection", unhandled);
  vi.restoreAllMocks();
});

async function* endless(): AsyncGenerator<Buffer> {
  for (;;) yield Buffer.alloc(65_536);
}

/** Breaks off a call once it has arrived. */
type BreakOff = (sent: string) => Promise<void>;

const overHttp1 =
  (end: (socket: Socket) => void): BreakOff =>
  async (sent) => {
    const socket = connect(server.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(sent, "latin1");
    await reached;
    const closed = once(socket, "close");
    end(socket);
    socket.resume();
    await closed;
    await server.stop(0); // resolves when the gateway has seen the end of the connection
    for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
  };

/** Headers of a connection, which HTTP/2 has not. */
const ABOUT_HTTP1 = new Set(["Host", "Transfer-Encoding"]);

const overHttp2 =
  (end: (session: ClientHttp2Session, stream: ClientHttp2Stream) => void): BreakOff =>
  async (sent) => {
    const [head = "", body = ""] = sent.split("\r\n\r\n");
    const [first = "", ...lines] = head.split("\r\n");
    const [method, path] = first.split(" ");
    const headers = lines.map((line) => line.split(": ")).filter(([name]) => !ABOUT_HTTP1.has(name ?? ""));
    const session = connectHttp2(`https://localhost:${secure.port}`, { rejectUnauthorized: false });
    session.on("error", () => {});
    const stream = session.request(
      { ":method": method, ":path": path, ...Object.fromEntries(headers) },
      { endStream: method === "GET" },
    );
    stream.on("error", () => {});
    if (head.endsWith(`Content-Length: ${body.length}`)) stream.end(body);
    else if (method !== "GET") stream.write(body);
    await reached;
    const closed = new Promise((resolve) => stream.once("close", resolve));
    end(session, stream);
    stream.resume();
    await closed;
    session.destroy();
    await secure.stop(0);
    for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
  };

const ENDS: [string, BreakOff][] = [
  ["resets the connection", overHttp1((socket) => socket.resetAndDestroy())],
  ["closes the connection", overHttp1((socket) => socket.destroy())],
  ["closes its half of the connection", overHttp1((socket) => socket.end())],
  ["resets the stream", overHttp2((_, stream) => stream.close(constants.NGHTTP2_CANCEL))],
  ["closes the connection of its streams", overHttp2((session) => session.destroy())],
];
const TARGET = "X-Fal-Target-Url: https://queue.fal.run/a/b\r\n";
const LENGTH = "Content-Length: 1000\r\n\r\n{";
const CHUNK = "Transfer-Encoding: chunked\r\n\r\n400\r\n{";

describe.each(ENDS)("a caller who %s", (_, breakOff) => {
  it.each([
    ["a submit", `POST /queue/a/b HTTP/1.1\r\nHost: x\r\nAuthorization: ann\r\n${LENGTH}`],
    ["a submit in chunks", `POST /queue/a/b HTTP/1.1\r\nHost: x\r\nAuthorization: ann\r\n${CHUNK}`],
    [
      "a submit in a coding",
      `POST /queue/a/b HTTP/1.1\r\nHost: x\r\nAuthorization: ann\r\nContent-Encoding: br\r\n${LENGTH}`,
    ],
    [
      "a submit in the proxy form",
      `POST /api/fal/proxy HTTP/1.1\r\nHost: x\r\nAuthorization: ann\r\n${TARGET}${LENGTH}`,
    ],
    [
      "a submit in chunks in the proxy form",
      `POST /api/fal/proxy HTTP/1.1\r\nHost: x\r\nAuthorization: ann\r\n${TARGET}${CHUNK}`,
    ],
    ["a run", `POST /run/a/b HTTP/1.1\r\nHost: x\r\nAuthorization: ann\r\n${LENGTH}`],
    ["a stream", `POST /run/a/b/stream HTTP/1.1\r\nHost: x\r\nAuthorization: ann\r\n${CHUNK}`],
    ["an upload", `POST /files/upload HTTP/1.1\r\nHost: x\r\nAuthorization: ann\r\n${LENGTH}`],
  ])("within the body of %s", async (_name, sent) => {
    await breakOff(sent);
    expect(logged).toEqual([]);
  });

  it.each([
    ["a run", 1, "POST /run/a/b HTTP/1.1\r\nHost: x\r\nAuthorization: ann\r\nContent-Length: 2\r\n\r\n{}"],
    [
      "a stream",
      1,
      "POST /run/a/b/stream HTTP/1.1\r\nHost: x\r\nAuthorization: ann\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ["a file", 0, `GET /files/aa/${"a".repeat(64)}.png HTTP/1.1\r\nHost: x\r\nAuthorization: ann\r\n\r\n`],
  ])("within the answer of %s, whose %i job is cancelled", async (_name, jobs, sent) => {
    await breakOff(sent);
    expect(logged).toEqual([]);
    expect(cancelled).toHaveLength(jobs);
  });
});

/**
 * Attacks of one owner on what a gateway has for all: while they go on, another owner is served, and when
 * they have ended, nothing is held.
 */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { encode } from "@msgpack/msgpack";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { createMemoryEventLog } from "../adapters/memory/event-log.ts";
import { createMemoryQuotas } from "../adapters/memory/quotas.ts";
import { openLocalAuthority } from "../adapters/tls/local-authority.ts";
import { TemperaError } from "../core/errors/tempera-error.ts";
import { LIMITS } from "../core/limits.ts";
import type { ModelVersion } from "../core/models/model.ts";
import { systemClock } from "../core/operations/clock.ts";
import type { PlanLimits } from "../core/owners/plan.ts";
import { createInputCheck } from "../registry/input-check.ts";
import { createAuthFailures } from "./auth/auth-failure-limiter.ts";
import type { ApiDependencies } from "./dependencies.ts";
import { createGateway } from "./gateway.ts";
import { type HttpServer, listen } from "./http/listen.ts";
import { type Budgets, createBudgets } from "./limits/budgets.ts";
import { createOwnerLimits } from "./limits/owner-limits.ts";
import { Turns } from "./limits/turns.ts";
import { createSockets, type Sockets } from "./realtime/sockets.ts";

const MODEL = {
  endpoint: "a/b",
  version: "1.0.0",
  digest: "d",
  realtime: true,
  retry: { attemptsMax: 1, initialMs: 1, backoff: 1, maximumMs: 1 },
  timeouts: { heartbeatMs: 1000, runMs: 1000, loadMs: 1000 },
  schemas: { input: { type: "object", properties: { prompt: { type: "string" } } }, output: {} },
  restrictions: [],
} as unknown as ModelVersion;

/** The largest body, and what of such bodies an owner, and all of them, may have in memory. */
const BODY_BYTES = 100_000;
const LIMITS_HERE = {
  socketsMax: 8,
  socketsOfOwnerMax: 2,
  openCallsMax: 16,
  openCallsOfOwnerMax: 4,
  bodiesBytesMax: 8 * BODY_BYTES,
  bodiesBytesOfOwnerMax: 2 * BODY_BYTES,
  bodyBytesMax: BODY_BYTES,
};
const REQUEST_ID = "00000000-0000-7000-8000-000000000001";
const REQUEST = {
  requestId: REQUEST_ID,
  ownerId: "ann",
  endpoint: "a/b",
  version: "1.0.0",
  taskQueue: "q",
  priority: "normal",
} as const;
const log = { debug() {}, info() {}, warn() {}, error() {} };

let budgets: Budgets;
/** Time that a piece of work takes by the clock of the gateway's turns. */
let pieceMs: number;
/** Ends of the rests after pieces that took long. */
let rests: (() => void)[];
let plan: PlanLimits;
let events: ReturnType<typeof createMemoryEventLog>;
let sockets: Sockets;
let server: HttpServer;
/** The same gateway over TLS, for HTTP/2. */
let secure: HttpServer;
let folder: string;
let certificate: { cert: string; key: string };
let connections: Socket[];
let sessions: ClientHttp2Session[];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tempera-test-"));
  certificate = await (
    await openLocalAuthority({ folder, names: ["localhost"], clock: systemClock })
  ).certificate();
});
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(async () => {
  connections = [];
  sessions = [];
  plan = {};
  [pieceMs, rests] = [0, []];
  let nowMs = 0;
  const turns = new Turns({
    nowMs: () => {
      nowMs += pieceMs;
      return nowMs;
    },
    rest: () => new Promise<void>((wake) => void rests.push(wake)),
  });
  budgets = createBudgets(() => LIMITS_HERE, turns);
  events = createMemoryEventLog();
  const found = {
    requestId: REQUEST_ID,
    endpoint: "a/b",
    keyId: "k",
    submittedAtMs: 0,
    attempts: 0,
    logs: [],
  };
  const authenticate = async (header: string | undefined) => {
    if (header === undefined) throw new TemperaError("key_missing");
    return { ownerId: header, keyId: header, scope: "API" };
  };
  const api = {
    registry: {
      route: (endpoint: string) =>
        endpoint === MODEL.endpoint ? { model: MODEL, checkInput: createInputCheck(MODEL) } : undefined,
      hasApp: () => true,
      list: () => [],
      pipelines: () => [],
    },
    flags: { isOn: () => true },
    keyRing: { authenticate, recall: async () => ({}) },
    tokens: { issue: async () => ({ token: "t", expiresAtMs: 0 }) },
    jobs: {
      start: async () => {},
      describe: async () => undefined,
      outcome: async () => undefined,
      cancel: async () => "requested",
    },
    events,
    requests: {
      insert: async () => {},
      find: async (requestId: string) => ({ ...found, requestId, ownerId: "ann" }),
    },
    pipelines: { list: async () => ({ items: [], total: 0 }), find: async () => undefined },
    limits: createOwnerLimits({
      effectiveLimits: { of: async ({ ownerId }) => ({ owner: ownerId === "ann" ? plan : {}, key: {} }) },
      quotas: createMemoryQuotas(),
      load: { unfinished: async () => 0, spent: async () => 0, stored: async () => ({ bytes: 0, files: 0 }) },
      log,
    }),
    budgets,
    webhookOf: () => undefined,
    files: { begin: async () => {}, find: async () => undefined, countObject: async () => true },
    objects: {
      put: async (_key: string, body: AsyncIterable<Buffer>) => {
        for await (const _ of body);
      },
    },
    storageDefaults: { of: () => undefined },
    sessions: { start: async () => {}, cancel: async () => {} },
    frames: { openGateway: async () => ({ send: async () => {}, close: async () => {} }) },
    authFailures: createAuthFailures(),
    clock: systemClock,
    log,
    bodyBytesMax: BODY_BYTES,
    uploadSecret: Buffer.alloc(32),
    publicUrl: undefined,
    realtime: { idleMs: 60_000, sessionsMax: 1 },
  } as unknown as ApiDependencies;
  const gateway = createGateway(api);
  sockets = createSockets(api, (request) => gateway.fetch(request));
  const options = { host: "127.0.0.1", port: 0, name: "test", setting: "NONE", upgrade: sockets.upgrade };
  server = await listen(gateway, options);
  secure = await listen(gateway, { ...options, tls: { ...certificate, log } });
});
afterEach(async () => {
  endAttack();
  await sockets.stop();
  await server.stop(0);
  await secure.stop(0);
  await events.close();
});

function endAttack(): void {
  for (const connection of connections) connection.destroy();
  for (const session of sessions) session.destroy();
}

/** Waits until nothing is held of any budget. */
async function nothingIsHeld(): Promise<void> {
  const { sockets, openCalls, bodies } = budgets;
  await expect.poll(() => [sockets, openCalls, bodies].map(({ held }) => held)).toEqual([0, 0, 0]);
}

/** The beginning of a call; its status comes with its answer. */
interface Begun {
  status: Promise<number>;
}

function openHttp1(head: string, body: Uint8Array | string = ""): Begun & { socket: Socket } {
  const socket = connect(server.port, "127.0.0.1");
  socket.on("error", () => {});
  connections.push(socket);
  socket.write(`${head}\r\nhost: x\r\n\r\n`);
  socket.write(body);
  const status = once(socket, "data").then(([data]) => Number(String(data).split(" ")[1]));
  status.catch(() => {}); // most attacks are not answered
  return { status, socket };
}

function openHttp2(
  headers: Record<string, string>,
  body: Uint8Array | string,
): Begun & { stream: ClientHttp2Stream } {
  const session = connectHttp2(`https://localhost:${secure.port}`, { rejectUnauthorized: false });
  session.on("error", () => {});
  sessions.push(session);
  const stream = session.request({ ":method": "POST", ...headers }, { endStream: false });
  stream.on("error", () => {});
  stream.write(body);
  const status = once(stream, "response").then(([head]) => Number(head[":status"]));
  status.catch(() => {});
  return { status, stream };
}

const upgrade = (path: string, key: string | undefined): Begun & { socket: Socket } =>
  openHttp1(
    [
      `GET ${path} HTTP/1.1`,
      "connection: Upgrade",
      "upgrade: websocket",
      "sec-websocket-version: 13",
      "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
      "sec-websocket-extensions: permessage-deflate",
      ...(key === undefined ? [] : [`authorization: ${key}`]),
    ].join("\r\n"),
  );

/** Calls as somebody, and resolves with the status of the answer. */
async function call(
  key: string,
  method: string,
  path: string,
  body?: string | Buffer<ArrayBuffer>,
): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${server.port}${path}`, {
    method,
    headers: { authorization: key },
    ...(body !== undefined && { body }),
  });
  await answer.body?.cancel();
  return answer.status;
}

const input = (bytes: number): Buffer<ArrayBuffer> => Buffer.from(`{"prompt":"${"a".repeat(bytes - 13)}"}`);
/** A whole body but its last byte. */
const unended = (bytes: number): Buffer => input(bytes).subarray(0, bytes - 1);

/** The head of a masked frame of a WebSocket, with a mask of zeros. */
function frameHead(
  { fin, opcode, compressed = false }: { fin: boolean; opcode: number; compressed?: boolean },
  bytes: number,
): Buffer {
  const head = Buffer.alloc(14);
  head[0] = (fin ? 0x80 : 0) | (compressed ? 0x40 : 0) | opcode;
  head[1] = 0x80 | 127;
  head.writeBigUInt64BE(BigInt(bytes), 2);
  return head;
}

describe("bodies that lack their last byte", () => {
  // Three of them fit into what an owner may have, and a fourth does not.
  const BYTES = 60_000;
  const headOf = (name: string, value: string | number, path: string, key = "ann") =>
    `POST ${path} HTTP/1.1\r\nauthorization: ${key}\r\n${name}: ${value}`;
  const gzipped = gzipSync(input(BYTES), { level: 0 });
  const chunked = Buffer.concat([Buffer.from(`${(BYTES - 1).toString(16)}\r\n`), unended(BYTES)]);

  it.each<[string, (path: string) => Begun]>([
    ["of a known length", (path) => openHttp1(headOf("content-length", BYTES, path), unended(BYTES))],
    ["in chunks", (path) => openHttp1(headOf("transfer-encoding", "chunked", path), chunked)],
    [
      "in a coding",
      (path) =>
        openHttp1(
          `${headOf("content-length", gzipped.length, path)}\r\ncontent-encoding: gzip`,
          gzipped.subarray(0, gzipped.length - 1),
        ),
    ],
    ["over HTTP/2", (path) => openHttp2({ ":path": path, authorization: "ann" }, unended(BYTES))],
  ])("%s count for their owner, who is refused; another owner is served", async (_, open) => {
    for (const path of ["/queue/a/b", "/run/a/b", "/run/a/b/stream", "/rest/tokens/", "/rest/workflows"]) {
      for (let n = 1; n <= 3; n++) {
        open(path);
        await expect.poll(() => budgets.bodies.heldBy("ann")).toBeGreaterThanOrEqual(n * (BYTES - 1));
      }
      for (let n = 0; n < 10; n++) open("/rest/workflows");
      expect([path, await call("ann", "POST", path, input(BYTES))]).toEqual([path, 429]);
      expect(budgets.bodies.held).toBeLessThanOrEqual(LIMITS_HERE.bodiesBytesOfOwnerMax);
      expect(await call("bob", "POST", "/queue/a/b", input(1000))).toBe(200);
      endAttack();
      await nothingIsHeld();
    }
  });

  it("leave room for the bodies of others, whose total is bounded too", async () => {
    for (let n = 1; n <= 7; n++) {
      openHttp1(headOf("content-length", BODY_BYTES, "/queue/a/b", `o${n}`), unended(BODY_BYTES));
      await expect.poll(() => budgets.bodies.held).toBeGreaterThanOrEqual(n * (BODY_BYTES - 1));
    }
    expect(await call("bob", "POST", "/queue/a/b", input(BODY_BYTES))).toBe(503);
    expect(budgets.bodies.held).toBeLessThanOrEqual(LIMITS_HERE.bodiesBytesMax);
    endAttack();
    await nothingIsHeld();
    expect(await call("bob", "POST", "/queue/a/b", input(BODY_BYTES))).toBe(200);
  });

  it("cost nothing without a key, and are answered before they have ended", async () => {
    const begun = ["/queue/a/b", "/run/a/b", "/rest/tokens/", "/rest/storage/upload/initiate"].map((path) =>
      openHttp1(`POST ${path} HTTP/1.1\r\ncontent-length: ${BODY_BYTES}`, unended(BODY_BYTES)),
    );
    expect(await Promise.all(begun.map(({ status }) => status))).toEqual([401, 401, 401, 401]);
    expect(budgets.bodies.held).toBe(0);
  });

  it("of uploads are streamed: they hold an open call and no bytes", async () => {
    const begin = () =>
      openHttp1(
        `POST /files/upload HTTP/1.1\r\nauthorization: ann\r\ncontent-type: image/png\r\n` +
          `x-fal-file-name: a.png\r\ncontent-length: ${BODY_BYTES}`,
        unended(BODY_BYTES),
      );
    for (let n = 0; n < 4; n++) begin();
    await expect.poll(() => budgets.openCalls.heldBy("ann")).toBe(4);
    expect(await begin().status).toBe(429);
    expect(budgets.bodies.held).toBe(0);
    endAttack();
    await nothingIsHeld();
  });
});

describe("streams and runs that are held open", () => {
  it.each<[string, string, string, string]>([
    ["runs", "POST", "/run/a/b", "{}"],
    ["streams", "POST", "/run/a/b/stream", "{}"],
    ["status streams", "GET", `/queue/a/b/requests/${REQUEST_ID}/status/stream`, ""],
  ])("%s count for their owner, who is refused; another owner is served", async (_, method, path, body) => {
    await events.append(REQUEST, { type: "queued", attempt: 0 });
    const open = (key: string) =>
      openHttp1(
        `${method} ${path} HTTP/1.1\r\nauthorization: ${key}\r\ncontent-length: ${body.length}`,
        body,
      );
    for (let n = 0; n < 4; n++) open("ann");
    await expect.poll(() => budgets.openCalls.heldBy("ann")).toBe(4);
    expect(await open("ann").status).toBe(429);
    open("bob");
    if (method === "POST") await expect.poll(() => budgets.openCalls.heldBy("bob")).toBe(1);
    await expect.poll(() => budgets.bodies.held).toBe(0); // a call that waits has used its body
    endAttack();
    await nothingIsHeld();
  });
});

it.each([
  ["POST", "/run/a/b", "{}"],
  ["POST", "/run/a/b/stream", "{}"],
  ["GET", "/run/a/b/stream", ""],
  ["GET", `/queue/a/b/requests/${REQUEST_ID}/status/stream`, ""],
  ["HEAD", `/queue/a/b/requests/${REQUEST_ID}/status/stream`, ""],
  ["POST", "/run/a/b", "not JSON"],
  ["POST", "/run/a/b/stream", "not JSON"],
])("nothing is held by %s %s of callers who leave at once or are refused", async (method, path, body) => {
  await events.append(REQUEST, { type: "queued", attempt: 0 });
  for (let n = 0; n < 10; n++) {
    const key = path.includes("status") ? "ann" : `o${n}`;
    const head = `${method} ${path} HTTP/1.1\r\nauthorization: ${key}\r\ncontent-length: ${body.length}`;
    const { socket, status } = openHttp1(head, body);
    if (n % 2 && (path !== "/run/a/b" || body === "not JSON")) await status;
    socket.destroy();
  }
  await nothingIsHeld();
});

it.each(["GET", "HEAD"])("a body that a %s brings over HTTP/2 is dropped as it comes", async (method) => {
  await events.append(REQUEST, { type: "queued", attempt: 0 });
  const path = method === "GET" ? `/queue/a/b/requests/${REQUEST_ID}/status/stream` : "/llms.txt";
  const { stream, status } = openHttp2({ ":method": method, ":path": path, authorization: "ann" }, "");
  // More than what may be under way: it is taken only if somebody reads.
  const bytes = Buffer.alloc(3 * LIMITS.http2StreamWindowBytes);
  const taken = new Promise((resolve) => stream.write(bytes, () => resolve("taken")));
  if (method === "GET") expect(await Promise.all([status, taken])).toEqual([200, "taken"]);
  else expect(await status).toBe(200);
});

describe("sockets", () => {
  it.each(["/ws/a/b", "/run/a/b/realtime"])(
    "idle on %s count for their owner; others connect",
    async (path) => {
      expect(await upgrade("/ws/a/b", "ann").status).toBe(101);
      expect(await upgrade("/ws/a/b", "ann").status).toBe(101);
      const further = upgrade(path, "ann");
      // The refusal of a realtime caller is told on a socket, which counts for nobody.
      expect(await further.status).toBe(path === "/ws/a/b" ? 429 : 101);
      expect(sockets.open).toBe(2);
      for (const key of ["bob", "cat", "dan"]) expect(await upgrade(path, key).status).toBe(101);
      expect(budgets.sockets.held).toBe(5);
      endAttack();
      await nothingIsHeld();
    },
  );

  it("of many owners are bounded together", async () => {
    for (let n = 0; n < 8; n++) expect(await upgrade("/ws/a/b", `o${n}`).status).toBe(101);
    for (const path of ["/ws/a/b", "/run/a/b/realtime"]) expect(await upgrade(path, "bob").status).toBe(503);
  });

  it("do not inflate messages: a piece of 100 bytes would become megabytes", async () => {
    const { socket } = upgrade("/ws/a/b", "ann");
    const [answer] = await once(socket, "data");
    expect(String(answer)).toMatch(/^HTTP\/1\.1 101/);
    expect(String(answer)).not.toMatch(/deflate/i);
    const ended = once(socket, "close");
    socket.write(
      Buffer.concat([frameHead({ fin: false, opcode: 1, compressed: true }, 10), Buffer.alloc(10)]),
    );
    socket.resume();
    await ended; // a compressed frame that was not agreed on breaks the protocol
  });

  it("with messages that never end are closed when their owner's bytes are used up", async () => {
    const open = async () => {
      const { socket, status } = upgrade("/ws/a/b", "ann");
      expect(await status).toBe(101);
      return socket;
    };
    const [first, second] = [await open(), await open()];
    const ended = new Promise<number>((resolve) => {
      for (const socket of [first, second])
        socket.on("data", (data: Buffer) => data[0] === 0x88 && resolve(data.readUInt16BE(2)));
    });
    openHttp1(
      `POST /queue/a/b HTTP/1.1\r\nauthorization: ann\r\ncontent-length: ${BODY_BYTES}`,
      unended(BODY_BYTES),
    );
    await expect.poll(() => budgets.bodies.heldBy("ann")).toBeGreaterThan(BODY_BYTES - 1);
    for (const socket of [first, second]) {
      socket.write(frameHead({ fin: false, opcode: 2 }, 60_000));
      socket.write(Buffer.alloc(60_000));
    }
    expect(await ended).toBe(1013);
    expect(budgets.bodies.held).toBeLessThanOrEqual(LIMITS_HERE.bodiesBytesOfOwnerMax);
    expect(await call("bob", "POST", "/queue/a/b", input(BODY_BYTES))).toBe(200);
    endAttack();
    await nothingIsHeld();
  });

  it("with large frames of one owner are not read while it rests, and others are served", async () => {
    const open = async (key: string): Promise<WebSocket> => {
      const ws = new WebSocket(`ws://127.0.0.1:${server.port}/run/a/b/realtime`, {
        headers: { authorization: key },
      });
      await once(ws, "open");
      return ws;
    };
    const countAnswers = (ws: WebSocket): { count: number } => {
      const answers = { count: 0 };
      ws.on("message", () => void answers.count++);
      return answers;
    };
    const [ann, bob] = [await open("ann"), await open("bob")];
    const [toAnn, toBob] = [countAnswers(ann), countAnswers(bob)];
    pieceMs = LIMITS.turnWithoutRestMs;
    // More than their owner may have in memory: most of it is left in the network.
    const large = encode({ prompt: Array(20_000).fill(0) });
    for (let n = 0; n < 12; n++) ann.send(large);
    await expect.poll(() => rests.length).toBe(1);
    bob.send(encode({ prompt: ["small"] }));
    await expect.poll(() => toBob.count).toBe(1);
    while (toAnn.count < 12) {
      await expect.poll(() => rests.length).toBeGreaterThan(0);
      for (const wake of rests.splice(0)) wake();
    }
    expect([ann.readyState, bob.readyState]).toEqual([WebSocket.OPEN, WebSocket.OPEN]);
    ann.terminate();
    bob.terminate();
    await nothingIsHeld();
  });

  it("count the message that arrives until it is whole, whatever comes between its pieces", async () => {
    const { socket, status } = upgrade("/ws/a/b", "ann");
    expect(await status).toBe(101);
    for (let n = 0; n < 3; n++) {
      socket.write(
        Buffer.concat([frameHead({ fin: false, opcode: n === 0 ? 1 : 0 }, 20_000), Buffer.alloc(20_000, 32)]),
      );
      socket.write(Buffer.from([0x89, 0x80, 0, 0, 0, 0])); // a ping
    }
    await expect.poll(() => budgets.bodies.heldBy("ann")).toBeGreaterThanOrEqual(60_000);
    socket.write(Buffer.concat([frameHead({ fin: true, opcode: 0 }, 2), Buffer.from("{}")]));
    await expect.poll(() => budgets.bodies.heldBy("ann")).toBe(0);
    endAttack();
    await nothingIsHeld();
  });
});

describe("calls that write", () => {
  it.each([
    ["POST", "/queue/a/b"],
    ["PUT", `/queue/a/b/requests/${REQUEST_ID}/cancel`],
    ["POST", "/run/a/b/stream"],
    ["GET", "/run/a/b/stream"],
    ["POST", "/rest/storage/upload/initiate"],
    ["POST", "/rest/storage/upload/initiate-multipart"],
    ["POST", "/rest/storage/auth/token"],
    ["POST", "/rest/tokens/"],
    ["POST", "/rest/tokens/realtime"],
    ["POST", "/rest/workflows"],
    ["PATCH", "/rest/workflows/ann/a"],
    ["DELETE", "/rest/workflows/ann/a"],
    ["POST", "/files/upload"],
    ["POST", "/files/upload/multipart"],
    ["POST", "/nowhere/at/all"],
  ])("count by the rate of their owner: %s %s", async (method, path) => {
    plan = { requestsPerSecond: 0.01 };
    const body = method === "GET" || method === "DELETE" ? undefined : "{}";
    expect(await call("ann", "POST", "/rest/tokens/", "{}")).not.toBe(429);
    for (let n = 0; n < 10; n++) expect(await call("ann", method, path, body)).toBe(429);
    expect(await call("bob", "POST", "/rest/tokens/", "{}")).not.toBe(429);
  });

  it("count once in the proxy form, and reads do not count", async () => {
    plan = { requestsPerSecond: 0.01, burst: 1 };
    const proxied = () =>
      fetch(`http://127.0.0.1:${server.port}/api/fal/proxy`, {
        method: "POST",
        body: "{}",
        headers: { authorization: "ann", "x-fal-target-url": "https://rest.fal.ai/tokens/" },
      }).then(({ status }) => status);
    for (let n = 0; n < 10; n++) expect(await call("ann", "GET", "/rest/workflows")).toBe(200);
    expect(await proxied()).not.toBe(429);
    expect(await proxied()).not.toBe(429);
    expect(await proxied()).toBe(429);
    expect(await call("ann", "GET", "/rest/workflows")).toBe(200);
  });
});

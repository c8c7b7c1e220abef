import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { Server } from "node:http";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from "node:http2";
import { connect as connectTcp } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { Hono } from "hono";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { openLocalAuthority } from "../../adapters/tls/local-authority.ts";
import { LIMITS } from "../../core/limits.ts";
import { systemClock } from "../../core/operations/clock.ts";
import { SSE_PING } from "../../fal/index.ts";
import { type HttpServer, listen, type UpgradeHandler } from "./listen.ts";
import { sseStream } from "./sse-stream.ts";

const NOTHING = { [Symbol.dispose]() {} };

let folder: string;
let certificate: { cert: string; key: string };
let ca: Buffer;
let app: Hono;
let server: HttpServer;
/** Lines of the server's log. */
let logged: string[];
/** The server's calls of handlers. */
let calls: number;
const sessions: ClientHttp2Session[] = [];
const sockets: TLSSocket[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tempera-test-"));
  const authority = await openLocalAuthority({ folder, names: ["localhost", "x"], clock: systemClock });
  certificate = await authority.certificate();
  ca = readFileSync(authority.caFile);
});
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(() => {
  calls = 0;
  logged = [];
  app = new Hono();
  app.use((_, next) => {
    calls += 1;
    return next();
  });
  app.get("/", (c) => c.text("here"));
});
afterEach(async () => {
  vi.useRealTimers();
  for (const session of sessions.splice(0)) session.destroy();
  for (const socket of sockets.splice(0)) socket.destroy();
  await server.stop(0);
});

async function start(upgrade?: UpgradeHandler): Promise<void> {
  const debug = (_: object, message: string): void => void logged.push(message);
  server = await listen(app, {
    host: "127.0.0.1",
    port: 0,
    name: "test",
    setting: "NONE",
    tls: { ...certificate, log: { debug } },
    ...(upgrade && { upgrade }),
  });
}

/** Opens a connection that speaks HTTP/2. */
function open(settings = {}): ClientHttp2Session {
  const session = connect(`https://localhost:${server.port}`, { ca, settings });
  session.on("error", () => {});
  sessions.push(session);
  return session;
}

interface Answer {
  status: number | undefined;
  headers: IncomingHttpHeaders;
  body: string;
}

function answerOf(stream: ClientHttp2Stream): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let answer: Answer = { status: undefined, headers: {}, body: "" };
    stream.setEncoding("utf8");
    stream.on("response", (headers) => {
      answer = { ...answer, status: headers[":status"], headers };
    });
    stream.on("data", (chunk) => {
      answer.body += chunk;
    });
    stream.once("error", reject).once("end", () => resolve(answer));
  });
}

const get = (session: ClientHttp2Session, path = "/", headers: OutgoingHttpHeaders = {}): Promise<Answer> =>
  answerOf(session.request({ ":path": path, ...headers }));

/** Opens a connection with a protocol of its choice, and sends nothing yet. */
async function openRaw(...protocols: string[]): Promise<TLSSocket> {
  const socket = connectTls({
    port: server.port,
    host: "127.0.0.1",
    servername: "localhost",
    ca,
    ALPNProtocols: protocols,
  });
  socket.on("error", () => {});
  sockets.push(socket);
  await once(socket, "secureConnect");
  return socket;
}

describe("one port", () => {
  it("speaks HTTP/2, and HTTP/1.1 with clients that choose it or choose nothing", async () => {
    await start();
    expect(await get(open())).toMatchObject({ status: 200, body: "here" });
    for (const protocols of [["http/1.1"], []]) {
      const socket = await openRaw(...protocols);
      socket.end("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
      const [received] = await once(socket.setEncoding("utf8"), "data");
      expect(received).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    }
  });

  it("upgrades to a WebSocket over HTTP/1.1, and offers none over HTTP/2", async () => {
    await start((call, socket) => socket.end(`HTTP/1.1 418 ${call.url}\r\n\r\n`));
    const socket = await openRaw("http/1.1");
    socket.write("GET /s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    const [received] = await once(socket.setEncoding("utf8"), "data");
    expect(received).toContain("418 /s");
    const session = open();
    const [settings] = await once(session, "remoteSettings");
    expect(settings.enableConnectProtocol).toBe(false);
  });

  it("serves a call over HTTP/1.1 that offers h2c, as Java's client does", async () => {
    await start(() => {});
    const socket = await openRaw("http/1.1");
    socket.write(
      "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n" +
        "HTTP2-Settings: AAEAAEAA\r\n\r\n",
    );
    const [received] = await once(socket.setEncoding("utf8"), "data");
    expect(received).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  });

  it("has the times and checks of a plain listener for HTTP/1.1", async () => {
    const seen: Server[] = [];
    const note = (message: unknown): void => void seen.push((message as { server: Server }).server);
    subscribe("http.server.request.start", note);
    try {
      await start();
      (await openRaw("http/1.1")).end("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      await vi.waitUntil(() => seen.length === 1);
      const plain = await listen(app, { host: "127.0.0.1", port: 0, name: "test", setting: "NONE" });
      await fetch(`http://127.0.0.1:${plain.port}/`);
      await plain.stop(0);
    } finally {
      unsubscribe("http.server.request.start", note);
    }
    const checks = (each: Server | undefined): object => ({
      headersTimeout: each?.headersTimeout,
      requestTimeout: each?.requestTimeout,
      keepAliveTimeout: each?.keepAliveTimeout,
      timeout: each?.timeout,
      requireHostHeader: (each as { requireHostHeader?: boolean } | undefined)?.requireHostHeader,
    });
    expect(checks(seen[0])).toEqual(checks(seen[1]));
    expect(checks(seen[0])).toMatchObject({ requestTimeout: 0, requireHostHeader: true });
  });
});

/** An answer that goes on until its reader leaves, and the number of events that were taken from it. */
function addEndless(path: string, event = "data: {}\n\n"): { pulled: number; left: Promise<void> } {
  let leave = (): void => {};
  const state = {
    pulled: 0,
    left: new Promise<void>((resolve) => {
      leave = resolve;
    }),
  };
  async function* events(): AsyncGenerator<string> {
    for (;;) {
      state.pulled += 1;
      yield event;
      await new Promise(setImmediate);
    }
  }
  app.get(path, (c) => {
    const closed = new AbortController();
    closed.signal.addEventListener("abort", leave);
    return c.body(sseStream(events(), closed, NOTHING), 200, { "content-type": "text/event-stream" });
  });
  return state;
}

/** A route that answers when the test says so. */
function addHeld(path: string): { reached: Promise<AbortSignal>; answer: () => void } {
  let reach = (_: AbortSignal): void => {};
  const held = {
    reached: new Promise<AbortSignal>((resolve) => {
      reach = resolve;
    }),
    answer: (): void => {},
  };
  const released = new Promise<void>((resolve) => {
    held.answer = resolve;
  });
  app.all(path, async (c) => {
    reach(c.req.raw.signal);
    await released;
    return c.text("at last");
  });
  return held;
}

describe("streams on one connection", () => {
  it("are served side by side: seven open streams do not block a call", async () => {
    addEndless("/events");
    await start();
    const session = open();
    for (let n = 0; n < 7; n += 1) {
      const stream = session.request({ ":path": "/events" });
      await once(stream, "data");
    }
    expect((await get(session)).body).toBe("here");
  });

  it("take no events for a reader that has stopped, and end when it leaves", async () => {
    const endless = addEndless("/events", `data: ${"x".repeat(1000)}\n\n`);
    await start();
    const session = open({ initialWindowSize: 65_535 });
    const stream = session.request({ ":path": "/events" });
    await once(stream, "response");
    stream.pause();
    // Other calls are answered meanwhile, and give the stream its turns.
    let before = -1;
    while (endless.pulled !== before) {
      before = endless.pulled;
      for (let turn = 0; turn < 20; turn += 1) await get(session);
    }
    expect(endless.pulled * 1000).toBeLessThan(1024 * 1024);
    stream.close(constants.NGHTTP2_CANCEL);
    await endless.left;
  });

  it("have something to read within five seconds of silence", async () => {
    async function* silence(): AsyncGenerator<string> {
      await new Promise(() => {});
    }
    app.get("/silent", (c) => c.body(sseStream(silence(), new AbortController(), NOTHING)));
    await start();
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    const stream = open().request({ ":path": "/silent" });
    await once(stream, "response");
    vi.advanceTimersByTime(5_000);
    expect(String((await once(stream, "data"))[0])).toBe(SSE_PING);
  });

  it("abort the call when they are reset, as a closed socket does", async () => {
    const held = addHeld("/held");
    await start();
    const session = open();
    const stream = session.request({ ":path": "/held", ":method": "POST" });
    stream.on("error", () => {});
    stream.end("{}");
    const signal = await held.reached;
    stream.close(constants.NGHTTP2_CANCEL);
    if (!signal.aborted) await once(signal, "abort");
    expect((await get(session)).body).toBe("here");
  });

  it("abort all calls when the connection breaks", async () => {
    const held = addHeld("/held");
    await start();
    const session = open();
    session.request({ ":path": "/held" }).on("error", () => {});
    const signal = await held.reached;
    session.destroy();
    if (!signal.aborted) await once(signal, "abort");
  });
});

describe("a call", () => {
  it("has the caller's host, address and headers, and no pseudo-headers", async () => {
    app.all("/seen", (c) =>
      c.json({
        url: c.req.url,
        address: (c.env as { incoming: { socket: { remoteAddress: string } } }).incoming.socket.remoteAddress,
        headers: [...c.req.raw.headers.keys()],
      }),
    );
    await start();
    const headers = { ":authority": "queue.fal.run", "x-mine": "yes" };
    expect(JSON.parse((await get(open(), "/seen?a=1", headers)).body)).toEqual({
      url: "https://queue.fal.run/seen?a=1",
      address: "127.0.0.1",
      headers: ["x-mine"],
    });
  });

  it("sends a body without a length, is told to continue, and may end with trailers", async () => {
    app.post("/echo", async (c) => c.text(await c.req.text()));
    await start();
    const stream = open().request({ ":path": "/echo", ":method": "POST", expect: "100-continue" }, {
      waitForTrailers: true,
    } as object);
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": "1" }));
    await once(stream, "continue");
    stream.write("a stream");
    stream.end(" of words");
    expect((await answerOf(stream)).body).toBe("a stream of words");
  });

  it("is answered without the headers of a connection", async () => {
    addEndless("/events");
    await start();
    const session = open();
    const { headers } = await get(session);
    const [streamed] = await once(session.request({ ":path": "/events" }), "response");
    for (const name of ["connection", "keep-alive", "transfer-encoding", "upgrade"])
      expect([headers[name], streamed[name]]).toEqual([undefined, undefined]);
  });

  it("by HEAD has the length and no body; 204 and 304 have neither", async () => {
    app.get("/sized", (c) => c.body("12345", 200, { "content-length": "5" }));
    app.get("/none", (c) => c.body(null, 204));
    app.get("/same", (c) => c.body(null, 304));
    await start();
    const session = open();
    const head = await get(session, "/sized", { ":method": "HEAD" });
    expect([head.status, head.headers["content-length"], head.body]).toEqual([200, "5", ""]);
    expect(await get(session, "/none")).toMatchObject({ status: 204, body: "" });
    expect(await get(session, "/same")).toMatchObject({ status: 304, body: "" });
  });

  it("that is refused before its body is read has its whole answer, however slowly it is read", async () => {
    const long = "x".repeat(300_000);
    app.post("/refused", (c) => c.text(long, 413));
    app.post("/later", async (c) => {
      await new Promise(setImmediate);
      return c.text(long, 413);
    });
    await start();
    for (const path of ["/refused", "/later"]) {
      const stream = open({ initialWindowSize: 1000 }).request({ ":path": path, ":method": "POST" });
      stream.write("the beginning");
      const answer = await answerOf(stream);
      expect([path, answer.status, answer.body.length]).toEqual([path, 413, long.length]);
    }
  });

  it("with a head too large for HTTP/1.1 is a 431, one beyond all bounds is reset", async () => {
    await start();
    const session = open();
    expect((await get(session, "/", { "x-mine": "v".repeat(15_000) })).status).toBe(200);
    expect((await get(session, "/", { "x-mine": "v".repeat(17_000) })).status).toBe(431);
    expect(calls).toBe(1);
    const stream = session.request(
      Object.fromEntries(Array.from({ length: 200 }, (_, n) => [`x-${n}`, "v"])) as OutgoingHttpHeaders,
    );
    stream.on("error", () => {});
    await new Promise((closed) => stream.once("close", closed));
    expect(stream.rstCode).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    expect((await get(session)).body).toBe("here");
    expect(calls).toBe(2);
  });
});

describe("a stop", () => {
  it("announces itself, lets open calls end, and takes no new ones", async () => {
    const held = addHeld("/held");
    await start();
    const session = open();
    const stream = session.request({ ":path": "/held" });
    const answer = answerOf(stream);
    await held.reached;
    const goaway = once(session, "goaway");
    const stopped = server.stop(60_000);
    await goaway;
    held.answer();
    expect((await answer).body).toBe("at last");
    await stopped;
  });

  it("closes connections without a call at once, of either protocol", async () => {
    await start();
    const session = open();
    await get(session);
    const old = await openRaw("http/1.1");
    old.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await once(old, "data");
    await server.stop(60_000);
  });

  it("cuts what is open after the grace: calls, and handshakes that have not ended", async () => {
    const held = addHeld("/held");
    await start();
    const silent = connectTcp(server.port, "127.0.0.1");
    await once(silent.resume(), "connect");
    const session = open();
    session.request({ ":path": "/held" }).on("error", () => {});
    const signal = await held.reached;
    const cut = once(silent, "close");
    await server.stop(0);
    if (!signal.aborted) await once(signal, "abort");
    await cut;
  });
});

it("closes a connection that has had no call for a while, whatever it sends meanwhile", async () => {
  await start();
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const session = open();
  expect((await get(session)).body).toBe("here");
  const pinged = (): Promise<void> => new Promise((resolve) => session.ping(() => resolve()));
  vi.advanceTimersByTime(74_000);
  await pinged();
  expect(session.destroyed).toBe(false);
  const goaway = once(session, "goaway");
  vi.advanceTimersByTime(2_000);
  expect((await goaway)[0]).toBe(constants.NGHTTP2_NO_ERROR);
});

/** Writes one frame (RFC 9113 §4.1). */
function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const [DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION, UNKNOWN] = [
  0, 1, 2, 3, 4, 6, 8, 9, 0x55,
];
const PREFACE = Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(SETTINGS, 0, 0)]);
const END_STREAM = 1;
const END_HEADERS = 4;
const GET = 0x82;
const POST = 0x83;

/** Encodes the head of a call (RFC 7541): its method and scheme by index, its path and host as literals. */
const headOf = (path: string, method = GET): Buffer =>
  Buffer.concat([
    Buffer.from([method, 0x87, 0x04, path.length]),
    Buffer.from(path),
    Buffer.from([0x01, 9]),
    Buffer.from("localhost"),
  ]);
const callOf = (stream: number, path = "/held"): Buffer =>
  frame(HEADERS, END_STREAM | END_HEADERS, stream, headOf(path));
const ids = (n: number): number[] => Array.from({ length: n }, (_, at) => 2 * at + 1);
const bytes = (...values: number[]): Buffer => Buffer.from(values);

/** Floods, each with the most calls of a handler that it may cause. */
const FLOODS: [string, number, () => Iterable<Buffer>][] = [
  [
    "10,000 streams that are reset at once",
    LIMITS.http2UnansweredMax + 1,
    () => ids(10_000).map((id) => Buffer.concat([callOf(id), frame(RST_STREAM, 0, id, bytes(0, 0, 0, 8))])),
  ],
  [
    "10,000 streams that the server has to reset",
    LIMITS.http2UnansweredMax + 1,
    () =>
      ids(10_000).map((id) => Buffer.concat([callOf(id), frame(WINDOW_UPDATE, 0, id, bytes(0, 0, 0, 0))])),
  ],
  ["10,000 streams that stay open", LIMITS.http2StreamsMax, () => ids(10_000).map((id) => callOf(id))],
  ["pings", 0, () => Array.from({ length: 100_000 }, () => frame(PING, 0, 0, Buffer.alloc(8)))],
  ["settings", 0, () => Array.from({ length: 100_000 }, () => frame(SETTINGS, 0, 0))],
  [
    "continuations of a head without an end",
    0,
    () => [
      frame(HEADERS, END_STREAM, 1, headOf("/held")),
      ...Array.from({ length: 10_000 }, () =>
        frame(CONTINUATION, 0, 1, Buffer.concat([bytes(0, 1, 0x61, 0x64), Buffer.alloc(100, "v")])),
      ),
    ],
  ],
  [
    "empty pieces of a body",
    1,
    () => [
      frame(HEADERS, END_HEADERS, 1, headOf("/held", POST)),
      ...Array.from({ length: 100_000 }, () => frame(DATA, 0, 1)),
    ],
  ],
  ["priorities", 0, () => ids(100_000).map((id) => frame(PRIORITY, 0, id, bytes(0, 0, 0, 0, 1)))],
  ["frames of unknown types", 0, () => Array.from({ length: 100_000 }, () => frame(UNKNOWN, 0, 0))],
];

describe("a hostile connection", () => {
  /** Sends frames until all are sent or the server has closed the connection. */
  async function flood(frames: Iterable<Buffer>): Promise<TLSSocket> {
    const socket = await openRaw("h2");
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.resume();
    socket.write(PREFACE);
    for (const each of frames) {
      if (socket.destroyed) break;
      if (!socket.write(each)) {
        const drained = new Promise((resolve) => socket.once("drain", resolve));
        await Promise.race([drained, closed]);
      }
    }
    return socket;
  }

  it.each(FLOODS)("%s: causes little work, and no harm to others", async (_, callsMax, frames) => {
    addHeld("/held");
    await start();
    const other = open();
    await get(other);
    calls = 0;
    await flood(frames());
    // The flood came before this call, so its part in the count is complete but for what waits in the kernel.
    expect((await get(other)).body).toBe("here");
    expect(calls - 1).toBeLessThanOrEqual(callsMax);
  });

  it("is closed when it gives up calls again and again, and the log says so", async () => {
    addHeld("/held");
    await start();
    const [, , frames] = FLOODS[0] as (typeof FLOODS)[number];
    const socket = await flood(frames());
    if (!socket.destroyed) await once(socket, "close");
    expect(logged).toEqual(["an HTTP/2 connection was closed"]);
  });
});

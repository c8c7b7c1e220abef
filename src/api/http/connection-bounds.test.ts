import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { connect as connectHttp2, constants } from "node:http2";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Hono } from "hono";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openLocalAuthority } from "../../adapters/tls/local-authority.ts";
import { LIMITS } from "../../core/limits.ts";
import { systemClock } from "../../core/operations/clock.ts";
import { type HttpServer, listen } from "./listen.ts";

let server: HttpServer;
const clients = new Set<Socket>();
/** The server's ends of its connections. */
let accepted: Socket[];
/** Calls that reached a route. */
let served: number;
/** Ends of the calls to `/wait`. */
let ends: (() => void)[];

const accept = (message: unknown): void => void accepted.push((message as { socket: Socket }).socket);
beforeEach(() => {
  [accepted, served, ends] = [[], 0, []];
  subscribe("net.server.socket", accept);
});
afterEach(async () => {
  unsubscribe("net.server.socket", accept);
  for (const client of clients) client.destroy();
  for (const end of ends) end();
  await server.stop(0);
});

const app = new Hono();
app.get("/wait", (c) => {
  served++;
  return new Promise<Response>((done) => ends.push(() => done(c.text("done"))));
});
app.get("/", (c) => {
  served++;
  return c.text("here");
});
app.post("/", async (c) => c.text(String((await c.req.text()).length)));

const start = async (options: Partial<Parameters<typeof listen>[1]> = {}): Promise<void> => {
  server = await listen(app, { host: "127.0.0.1", port: 0, name: "test", setting: "NONE", ...options });
};

/** A connection to the server, with all that it has received. */
function client(): { socket: Socket; received: () => string } {
  const socket = connect(server.port, "127.0.0.1").on("error", () => {});
  clients.add(socket);
  let received = "";
  socket.on("data", (chunk) => {
    received += chunk;
  });
  return { socket, received: () => received };
}

async function temporaryFolder() {
  const path = await mkdtemp(join(tmpdir(), "tempera-test-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

const get = (path: string, more = ""): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`;
const UPGRADE_H2C = "Connection: Upgrade\r\nUpgrade: h2c\r\n";

describe("a connection over HTTP/1.1", () => {
  it("that offers another protocol with each call gains no listeners", async () => {
    await start({ upgrade: (_, socket) => void socket.destroy() });
    const { socket, received } = client();
    const counts: number[] = [];
    for (let calls = 1; calls <= 6; calls++) {
      socket.write(get("/", UPGRADE_H2C));
      await expect.poll(() => received().split("here").length - 1).toBe(calls);
      const [own] = accepted as [Socket];
      counts.push(own.eventNames().reduce((sum, name) => sum + own.listenerCount(name), 0));
    }
    expect(counts.at(-1)).toBe(counts[1]);
  });

  it("has a few calls without an answer, and is closed with the next one", async () => {
    await start();
    const { socket } = client();
    socket.write(get("/wait").repeat(LIMITS.pipelinedCallsMax));
    await expect.poll(() => served).toBe(LIMITS.pipelinedCallsMax);
    socket.write(get("/").repeat(1_000));
    await once(socket, "close");
    expect(served).toBe(LIMITS.pipelinedCallsMax);
  });

  it("is closed when one packet brings more calls, of which few are served", async () => {
    await start();
    const { socket } = client();
    socket.write(get("/").repeat(1_000));
    await once(socket, "close");
    expect(served).toBeLessThanOrEqual(2 * LIMITS.pipelinedCallsMax);
  });

  it("has any number of calls one after another", async () => {
    await start();
    const { socket, received } = client();
    for (let calls = 1; calls <= 3 * LIMITS.pipelinedCallsMax; calls++) {
      socket.write(get("/"));
      await expect.poll(() => received().split("here").length - 1).toBe(calls);
    }
  });

  it.each(["h2c", "websocket"])("is closed by an upgrade to %s behind an open call", async (protocol) => {
    await start({ upgrade: (_, socket) => void socket.end("HTTP/1.1 418 x\r\n\r\n") });
    const { socket, received } = client();
    socket.write(get("/wait"));
    await expect.poll(() => served).toBe(1);
    socket.write(get("/", `Connection: Upgrade\r\nUpgrade: ${protocol}\r\n`));
    await once(socket, "close");
    expect(received()).toBe("");
  });
});

describe("a body in tiny pieces", () => {
  const pieces = (count: number, bytes: number): string =>
    `${bytes.toString(16)}\r\n${"x".repeat(bytes)}\r\n`.repeat(count);
  const post = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";

  it("closes its connection", async () => {
    await start();
    const { socket, received } = client();
    socket.write(post + pieces(2 * LIMITS.bodyPiecesMin, 1));
    await once(socket, "close");
    expect(received()).toBe("");
  });

  it.each([
    ["few", LIMITS.bodyPiecesMin, 1],
    ["of a line each", 2 * LIMITS.bodyPiecesMin, LIMITS.bodyPieceBytesMin],
  ])("is read when they are %s", async (_, count, bytes) => {
    await start();
    const { socket, received } = client();
    socket.write(`${post}${pieces(count, bytes)}0\r\n\r\n`);
    await expect.poll(received).toMatch(new RegExp(`^HTTP/1.1 200[^]*\\r\\n${count * bytes}$`));
  });

  it("closes its connection over HTTP/2", async () => {
    await using folder = await temporaryFolder();
    const authority = await openLocalAuthority({
      folder: folder.path,
      names: ["localhost"],
      clock: systemClock,
    });
    await start({ tls: { ...(await authority.certificate()), log: { debug() {} } } });
    const ca = await readFile(authority.caFile);
    const session = connectHttp2(`https://localhost:${server.port}`, { ca });
    session.on("error", () => {});
    const call = session.request({ ":method": "POST", ":path": "/" });
    call.on("error", () => {});
    const closed = once(session, "goaway");
    const write = (left: number): void => {
      if (left > 0 && !call.destroyed) call.write("x", () => write(left - 1));
    };
    write(2 * LIMITS.bodyPiecesMin);
    expect((await closed)[0]).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    session.destroy();
  });
});

describe("the connections of one address", () => {
  it("are bounded, and free again when one has closed", async () => {
    await start({ connectionsOfAddressMax: 2 });
    const [first, second] = [client(), client()];
    for (const { socket, received } of [first, second]) {
      socket.write(get("/"));
      await expect.poll(received).toContain("here");
    }
    await once(client().socket, "close");
    first.socket.destroy();
    await expect.poll(() => accepted[0]?.destroyed).toBe(true);
    const { socket, received } = client();
    socket.write(get("/"));
    await expect.poll(received).toContain("here");
  });
});

/**
 * Attacks that hurt other owners before there were budgets, each as a loop that one owner or one address runs
 * at the rate at which it is answered. `attacker.ts` runs one of them in a process of its own.
 */
import { randomBytes, randomUUID } from "node:crypto";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { encode } from "@msgpack/msgpack";
import { Agent, request } from "undici";
import { WebSocket } from "ws";
import { STUB } from "../harness.ts";

export interface Target {
  /** URL of the gateway. */
  url: string;
  /** API key of the attacking owner. */
  key: string;
  /** Address that the attacker's connections come from. */
  from: string;
  /** An instant of `performance.now()`: no further call starts then. */
  untilMs: number;
}

/** Runs until `untilMs`; gives the number of answers by status, or by what happened in place of one. */
export type Attack = (target: Target) => Promise<Record<string, number>>;

/** Calls under way at once. */
const AT_ONCE = 32;
/** Bytes of frames that an attacker has ready to be sent on a socket. */
const FRAMES_BUFFERED_BYTES = 2 ** 20;
/** Bytes that a flood writes at once. */
const FLOOD_BYTES = 64 * 1024;
/** A caller that is refused does not spin faster than this, in milliseconds, with each of its calls. */
const AFTER_FAILED_CONNECTION_MS = 20;

interface Call {
  method?: "GET" | "POST" | "PUT" | "PATCH";
  path: string;
  /** JSON; a large one is written once, so that the attacker keeps the server busy and not itself. */
  body?: object | string;
  headers?: Record<string, string>;
}

class Counts {
  readonly byStatus: Record<string, number> = {};

  add(status: number | string): void {
    this.byStatus[status] = (this.byStatus[status] ?? 0) + 1;
  }
}

/** Makes calls, `AT_ONCE` at a time, each as soon as one before it was answered. */
const callsOf =
  (call: (target: Target, n: number) => Call): Attack =>
  async (target) => {
    const agent = new Agent({ connections: AT_ONCE, pipelining: 1, connect: { localAddress: target.from } });
    const counts = new Counts();
    let next = 0;
    const loop = async (): Promise<void> => {
      while (performance.now() < target.untilMs) {
        const { method = "POST", path, body, headers } = call(target, next++);
        try {
          const answer = await request(`${target.url}${path}`, {
            method,
            headers: {
              authorization: `Key ${target.key}`,
              ...(body && { "content-type": "application/json" }),
              ...headers,
            },
            ...(body && { body: typeof body === "string" ? body : JSON.stringify(body) }),
            dispatcher: agent,
          });
          await answer.body.dump();
          counts.add(answer.statusCode);
        } catch {
          counts.add("no answer");
          await sleep(AFTER_FAILED_CONNECTION_MS);
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, loop));
    await agent.destroy();
    return counts.byStatus;
  };

/** Opens sockets that send a head (and the first bytes of a body) and are then left alone. */
const idleSockets =
  (sockets: number, text: (target: Target) => string | Buffer): Attack =>
  async (target) => {
    const { hostname, port } = new URL(target.url);
    const counts = new Counts();
    const open = new Set<Socket>();
    const start = (): Promise<void> =>
      new Promise((done) => {
        const socket = connect({ host: hostname, port: Number(port), localAddress: target.from });
        open.add(socket);
        socket.once("connect", () => {
          socket.write(text(target));
          done();
        });
        socket.once("data", (bytes) => {
          counts.add(/^HTTP\/1\.1 (\d+)/.exec(bytes.toString("latin1"))?.[1] ?? "another answer");
        });
        socket.on("error", () => done());
        socket.once("close", () => open.delete(socket));
      });
    while (performance.now() < target.untilMs) {
      if (open.size < sockets) await start();
      else await sleep(AFTER_FAILED_CONNECTION_MS);
    }
    counts.add(`sockets left open: ${open.size}`);
    for (const socket of open) socket.destroy();
    return counts.byStatus;
  };

/** Writes on raw connections as fast as they are read, each opened again when it was closed. */
const floods =
  (sockets: number, head: (target: Target) => string, again: string): Attack =>
  async (target) => {
    const { hostname, port } = new URL(target.url);
    const counts = new Counts();
    const piece = again.repeat(Math.ceil(FLOOD_BYTES / again.length));
    const flood = (): Promise<void> =>
      new Promise((done) => {
        const socket = connect({ host: hostname, port: Number(port), localAddress: target.from });
        const write = (): void => {
          if (performance.now() > target.untilMs) socket.destroy();
          else while (socket.write(piece));
        };
        socket.once("connect", () => {
          counts.add("connections");
          socket.write(head(target));
          write();
        });
        socket.on("drain", write);
        socket.on("data", () => {});
        socket.on("error", () => {});
        socket.once("close", () => done());
        setTimeout(() => socket.destroy(), target.untilMs - performance.now()).unref();
      });
    const loop = async (): Promise<void> => {
      while (performance.now() < target.untilMs) {
        await flood();
        await sleep(AFTER_FAILED_CONNECTION_MS);
      }
    };
    await Promise.all(Array.from({ length: sockets }, loop));
    return counts.byStatus;
  };

/** Opens realtime sockets again and again, up to `sockets` at a time. */
const webSockets =
  (sockets: number, headersOf: (target: Target) => Record<string, string>): Attack =>
  async (target) => {
    const counts = new Counts();
    const open = new Set<WebSocket>();
    const url = `${target.url.replace("http", "ws")}/${STUB}/realtime`;
    const start = (): Promise<void> =>
      new Promise((done) => {
        const ws = new WebSocket(url, { headers: headersOf(target), localAddress: target.from });
        open.add(ws);
        ws.once("open", () => {
          counts.add("open");
          done();
        });
        ws.once("unexpected-response", (call, response) => {
          counts.add(response.statusCode ?? 0);
          call.destroy();
          open.delete(ws);
          done();
        });
        ws.on("error", () => done());
        ws.once("close", () => open.delete(ws));
      });
    const loop = async (): Promise<void> => {
      while (performance.now() < target.untilMs)
        if (open.size < sockets) await start();
        else await sleep(AFTER_FAILED_CONNECTION_MS);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, loop));
    for (const ws of open) ws.terminate();
    return counts.byStatus;
  };

/** Sends frames over realtime sockets, on each as fast as they are taken. */
const frames =
  (sockets: number, frame: Uint8Array): Attack =>
  async (target) => {
    const counts = new Counts();
    const url = `${target.url.replace("http", "ws")}/${STUB}/realtime`;
    const headers = { authorization: `Key ${target.key}` };
    const flood = async (): Promise<void> => {
      const ws = new WebSocket(url, { headers, localAddress: target.from, perMessageDeflate: false });
      ws.on("message", () => counts.add("messages received"));
      ws.on("error", () => counts.add("no socket"));
      ws.on("close", (code) => counts.add(`closed with ${code}`));
      while (performance.now() < target.untilMs) {
        while (ws.readyState === WebSocket.OPEN && ws.bufferedAmount < FRAMES_BUFFERED_BYTES) ws.send(frame);
        await sleep(1);
      }
      ws.terminate();
    };
    await Promise.all(Array.from({ length: sockets }, flood));
    return counts.byStatus;
  };

const upgradeHead = ({ url }: Target): string =>
  `GET /${STUB}/realtime HTTP/1.1\r\nhost: ${new URL(url).host}\r\nconnection: upgrade\r\n` +
  "upgrade: websocket\r\nsec-websocket-version: 13\r\n" +
  `sec-websocket-key: ${randomBytes(16).toString("base64")}\r\n\r\n`;

const wrongKey = (): string => `Key ${randomUUID()}:${randomBytes(32).toString("hex")}`;

const NODES = 40;
const manyNodes = (): Record<string, object> =>
  Object.fromEntries(
    Array.from({ length: NODES }, (_, n) => [
      `n${n}`,
      { type: "run", app: STUB, depends: ["input"], input: { prompt: "$input.prompt", delay_ms: 200 } },
    ]),
  );

const FIELDS = 120;
/** A schema whose size lies in its lists: 120 fields that require `names` names each. */
const heavySchema = (names: number, n: number): object =>
  Object.fromEntries(
    Array.from({ length: FIELDS }, (_, field) => [
      `f${field}`,
      {
        name: `f${field}`,
        type: "object",
        required: Array.from({ length: names }, (_, name) => `r${n}_${field}_${name}`),
      },
    ]),
  );

const workflow = (name: string, nodes: object, input: object): object => ({
  name,
  title: name,
  contents: {
    name,
    version: "1",
    nodes,
    output: { text: "$n0.echo" },
    schema: { input, output: {} },
    metadata: {},
  },
});

const PROMPT = { prompt: { name: "prompt", label: "Prompt", type: "string", required: true, modelId: "n0" } };
/** More values than a body may have. */
const MANY_VALUES = JSON.stringify({ prompt: Array.from({ length: 190_000 }, (_, n) => n) });
/** Nearly as many fields and values as a body and a frame may have, in the form that takes longest. */
const FIELDS_OF_LISTS = Object.fromEntries(
  Array.from({ length: 4_900 }, (_, n) => [`field_${n}`.padEnd(36, "_"), [n, n, n]]),
);
const MANY_FIELDS = JSON.stringify(FIELDS_OF_LISTS);
const BODY_BYTES = 19 * 2 ** 20;
/** Saves definitions that were written before, so that the attacker keeps the server busy and not itself. */
const heavyDefinitions =
  (names: number): Attack =>
  (target) => {
    const bodies = Array.from({ length: 64 }, (_, n) =>
      JSON.stringify(workflow(`heavy-${n}`, { n0: manyNodes().n0 }, heavySchema(names, n))),
    );
    return callsOf((_, n) => ({ path: "/rest/workflows/", body: bodies[n % bodies.length] ?? "" }))(target);
  };

export const ATTACKS: Record<string, Attack> = {
  "wrong keys": callsOf(() => ({ path: `/queue/${STUB}`, body: {}, headers: { authorization: wrongKey() } })),
  "wrong keys by WebSocket": webSockets(100, () => ({ authorization: wrongKey() })),
  "wrong keys on a file": callsOf(() => ({
    method: "GET",
    path: `/files/${randomBytes(16).toString("hex")}/a.png`,
    headers: { authorization: wrongKey() },
  })),
  "1,000 upgrades without a key": webSockets(1_000, () => ({})),
  "300 upgrades that are not closed": idleSockets(300, upgradeHead),
  "realtime frames of 4,900 fields": frames(8, encode(FIELDS_OF_LISTS)),
  "realtime frames of one byte": frames(8, encode({})),
  "pipelined calls without a key": floods(8, () => "", "GET /a/b HTTP/1.1\r\nhost: x\r\n\r\n"),
  "a body in pieces of one byte": floods(
    8,
    ({ key }) =>
      `POST /queue/${STUB} HTTP/1.1\r\nhost: x\r\nauthorization: Key ${key}\r\n` +
      "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
    "1\r\n \r\n",
  ),
  "1,000 idle sockets of one key": webSockets(1_000, ({ key }) => ({ authorization: `Key ${key}` })),
  "30 bodies one byte short": idleSockets(30, ({ url, key }) =>
    Buffer.concat([
      Buffer.from(
        `POST /queue/${STUB} HTTP/1.1\r\nhost: ${new URL(url).host}\r\nauthorization: Key ${key}\r\n` +
          `content-type: application/json\r\ncontent-length: ${BODY_BYTES}\r\n\r\n`,
      ),
      Buffer.alloc(BODY_BYTES - 1, " "),
    ]),
  ),
  "schemas of 120 fields with 199 names": heavyDefinitions(199),
  // Nearly as many values as a definition may have, so that it is read whole.
  "schemas of 120 fields with 150 names": heavyDefinitions(150),
  "inputs of 190,000 values": callsOf(() => ({ path: `/queue/${STUB}`, body: MANY_VALUES })),
  "inputs of 4,900 fields": callsOf(() => ({ path: `/queue/${STUB}`, body: MANY_FIELDS })),
  "inputs of 4,900 fields with an idempotency key": callsOf((_, n) => ({
    path: `/queue/${STUB}`,
    body: MANY_FIELDS,
    headers: { "idempotency-key": `many-${n}` },
  })),
  "40 nodes at once": callsOf((_, n) =>
    n === 0
      ? { path: "/rest/workflows/", body: workflow("forty", manyNodes(), PROMPT) }
      : { path: "/queue/workflows/stranger/forty", body: { prompt: String(n) } },
  ),
  "requests that crash their engine": callsOf((_, n) => ({
    path: `/queue/${STUB}`,
    body: { fail: "crash", prompt: String(n % 4) },
  })),
  "requests that crash their engine, all different": callsOf((_, n) => ({
    path: `/queue/${STUB}`,
    body: { fail: "crash", prompt: String(n) },
  })),
  "outputs of 300 MiB": callsOf((_, n) => ({
    path: `/queue/${STUB}`,
    body: { artifact_bytes: 314_572_800, prompt: String(n) },
  })),
  "uploads that are only announced": callsOf((_, n) => ({
    path: "/rest/storage/upload/initiate?storage_type=fal-cdn-v3",
    body: { file_name: `${n}.txt`, content_type: "text/plain" },
  })),
  "file names of 10,000 dots": callsOf(() => ({
    path: "/rest/storage/upload/initiate?storage_type=fal-cdn-v3",
    body: { file_name: ".".repeat(10_000), content_type: "text/plain" },
  })),
  "names of workflows with line feeds": callsOf((_, n) => ({
    method: "PATCH",
    path: `/rest/workflows/a%0a${n}%1b[31m/y`,
    body: { title: "x" },
  })),
};

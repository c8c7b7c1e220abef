/** Callers who ask for large answers and do not read them: they count, and nobody else is refused. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Readable } from "node:stream";
import { Hono } from "hono";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Json } from "../core/json/json.ts";
import { LIMITS } from "../core/limits.ts";
import type { Outcome } from "../core/requests/request.ts";
import { createArtifact } from "./files/file.ts";
import { answerError } from "./http/answer-error.ts";
import { type HttpServer, listen } from "./http/listen.ts";
import { type Budgets, createBudgets } from "./limits/budgets.ts";
import { answerOutcome } from "./requests/answer-outcome.ts";

/** Two large values fit into what an owner may have. */
const OWNER_BYTES = 64 * 1024 * 1024;
const VALUE = { address: "http://x/files/a.png", text: "x".repeat(OWNER_BYTES / 2 - 1_000) };
const JSON_BYTES = Buffer.from(JSON.stringify(VALUE));
const ARTIFACT = `ab/${"ab".repeat(32)}.png`;
const log = { debug() {}, info() {}, warn() {}, error() {} };

let budgets: Budgets;
let server: HttpServer;
let connections: Socket[];
/** The bodies that the object store has opened. */
let opened: Readable[];
let isStored: boolean;

beforeEach(async () => {
  connections = [];
  opened = [];
  isStored = true;
  budgets = createBudgets(() => ({
    socketsMax: 10,
    socketsOfOwnerMax: 10,
    openCallsMax: 100,
    openCallsOfOwnerMax: 3,
    bodiesBytesMax: 4 * OWNER_BYTES,
    bodiesBytesOfOwnerMax: OWNER_BYTES,
    bodyBytesMax: 1_000,
  }));
  const info = { bytes: JSON_BYTES.length, contentType: "image/png" };
  const objects = {
    head: async () => (isStored ? info : undefined),
    get: async () => {
      const body = Readable.from(
        (function* () {
          for (let at = 0; at < JSON_BYTES.length; at += 65_536) yield JSON_BYTES.subarray(at, at + 65_536);
        })(),
      );
      opened.push(body);
      return { info, body };
    },
  };
  const api = {
    objects,
    budgets,
    outputUrls: ["http://x"],
    publicUrl: "http://public",
    signAddress: (address: string) => address,
  } as unknown as Parameters<typeof answerOutcome>[1];
  const artifact = createArtifact({ objects, budgets });
  const app = new Hono()
    .get("/result/:owner", (c) => {
      const outcome: Outcome = { ok: true, output: { ref: "outcomes/a.json" }, metrics: {} };
      return answerOutcome(c, api, { outcome, ownerId: c.req.param("owner") });
    })
    .get("/run/:owner", (c) => {
      const ownerId = c.req.param("owner");
      const open = budgets.openCalls.acquire(ownerId);
      const outcome: Outcome = { ok: true, output: { inline: { a: 1 } }, metrics: {} };
      return answerOutcome(c, api, { outcome, ownerId, open });
    })
    .get("/file", (c) => artifact(c, ARTIFACT))
    .onError((error, c) => answerError(c, error, { log }));
  server = await listen(app, { host: "127.0.0.1", port: 0, name: "test", setting: "NONE" });
});
afterEach(async () => {
  for (const connection of connections) connection.destroy();
  await server.stop(0);
});

/** Asks, and reads no more than the head of the answer. */
async function ask(path: string): Promise<Socket> {
  const socket = connect(server.port, "127.0.0.1");
  socket.on("error", () => {});
  connections.push(socket);
  socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`);
  return socket;
}

const isHeld = () => [budgets.openCalls.held, budgets.bodies.held];

describe("results that are not read", () => {
  it("count for their owner until the callers leave; another owner has its result", async () => {
    const unread = [await ask("/result/ann"), await ask("/result/ann")];
    await expect.poll(isHeld).toEqual([2, 2 * JSON_BYTES.length]);
    // The third waits for room, and holds nothing of the object store meanwhile.
    const third = await ask("/result/ann");
    await expect.poll(isHeld).toEqual([3, 2 * JSON_BYTES.length]);
    expect((await fetch(`http://127.0.0.1:${server.port}/result/ann`)).status).toBe(429);
    const answer = await fetch(`http://127.0.0.1:${server.port}/result/bob`);
    expect(answer.headers.get("content-length")).toBe(String(Buffer.byteLength(await answer.text())));
    expect(opened).toHaveLength(3);
    unread[0]?.destroy();
    await once(third, "data");
    for (const socket of [...unread, third]) socket.destroy();
    await expect.poll(isHeld).toEqual([0, 0]);
  });

  it("have the addresses that their caller reaches, and are else as they are stored", async () => {
    const answer = await fetch(`http://127.0.0.1:${server.port}/result/ann`);
    expect((await answer.json()) as Json).toEqual({ ...VALUE, address: "http://public/files/a.png" });
    await expect.poll(isHeld).toEqual([0, 0]);
  });

  it("are gone when they were deleted, and hold nothing then", async () => {
    isStored = false;
    expect((await fetch(`http://127.0.0.1:${server.port}/result/ann`)).status).toBe(404);
    expect(isHeld()).toEqual([0, 0]);
  });

  it("end the open call of a run at once when they are small", async () => {
    expect((await fetch(`http://127.0.0.1:${server.port}/run/ann`)).status).toBe(200);
    expect(isHeld()).toEqual([0, 0]);
  });
});

it("files without a key that are not read are bounded by address, until their callers leave", async () => {
  const first = await ask("/file");
  await once(first, "readable");
  expect(budgets.files.held).toBe(1);
  const others = budgets.files.acquire("\x00127.0.0.1", LIMITS.filesOfAddressMax - 1);
  expect((await fetch(`http://127.0.0.1:${server.port}/file`)).status).toBe(429);
  others[Symbol.dispose]();
  first.destroy();
  await expect.poll(() => budgets.files.held).toBe(0);
  await expect.poll(() => opened.every(({ destroyed }) => destroyed)).toBe(true);
  const whole = await fetch(`http://127.0.0.1:${server.port}/file`);
  expect((await whole.arrayBuffer()).byteLength).toBe(JSON_BYTES.length);
  expect(budgets.files.held).toBe(0);
});

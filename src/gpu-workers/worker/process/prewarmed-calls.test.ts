import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as grpc from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, it } from "vitest";
import {
  connectEngine,
  ENGINE_SERVICE,
  type EngineClient,
  type RunEvent,
  type RunRequest,
} from "../../contract/engine-protocol.ts";
import { PrewarmedCalls } from "./prewarmed-calls.ts";

type Served = grpc.ServerDuplexStream<RunRequest, RunEvent>;

let folder: string;
let server: grpc.Server;
let client: EngineClient;
let calls: PrewarmedCalls;
/** Calls as the server sees them, in the order of their opening. */
let served: Served[];
let onOpen: (count: number) => void;

/** Resolves when this many calls were opened in total. */
const opened = (count: number): Promise<void> =>
  new Promise((resolve) => {
    if (served.length >= count) return resolve();
    onOpen = (now) => now >= count && resolve();
  });

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-calls-"));
  const socket = join(folder, "engine.sock");
  served = [];
  onOpen = () => {};
  server = new grpc.Server();
  const none = () => {};
  server.addService(ENGINE_SERVICE, {
    Describe: none,
    Load: none,
    Health: none,
    Run: (call: Served) => {
      call.on("error", none).resume();
      served.push(call);
      onOpen(served.length);
    },
  });
  await new Promise((done) =>
    server.bindAsync(`unix:${socket}`, grpc.ServerCredentials.createInsecure(), done),
  );
  client = connectEngine(socket);
  calls = new PrewarmedCalls(client, (work) => work());
});

afterEach(async () => {
  calls.close();
  client.close();
  server.forceShutdown();
  await rm(folder, { recursive: true, force: true });
});

/** Runs a call to its end. */
async function finish(call: ReturnType<EngineClient["run"]>, atServer: Served | undefined): Promise<void> {
  call.end();
  call.resume();
  atServer?.end();
  await once(call, "status");
}

it("opens the next call when one has ended, and hands that one out", async () => {
  const first = calls.take();
  await opened(1);
  await finish(first, served[0]);
  await opened(2);
  const second = calls.take();
  const received = once(served[1] as Served, "data");
  second.write({ start: { requestId: "second", attempt: 1, inputJson: "{}" } });
  expect((await received)[0]).toMatchObject({ start: { requestId: "second" } });
  expect(served).toHaveLength(2);
});

it("opens the next call a moment later by default", async () => {
  const own = new PrewarmedCalls(client);
  const first = own.take();
  await opened(1);
  await finish(first, served[0]);
  await opened(2);
  own.close();
});

it("hands every taker a different call", async () => {
  const [one, two] = [calls.take(), calls.take()];
  expect(one).not.toBe(two);
  await opened(2);
  await Promise.all([finish(one, served[0]), finish(two, served[1])]);
  await opened(3);
  const [three, four] = [calls.take(), calls.take()];
  expect(three).not.toBe(four);
  await opened(4);
});

it("does not hand out a call that the engine has ended", async () => {
  const first = calls.take();
  await opened(1);
  await finish(first, served[0]);
  await opened(2);
  served[1]?.emit("error", { code: grpc.status.UNAVAILABLE, details: "gone" });
  // The answer to a call that is opened later arrives later.
  const probe = client.run();
  probe.on("error", () => {});
  await opened(3);
  await finish(probe, served[2]);
  const third = calls.take();
  await opened(4);
  await finish(third, served[3]);
});

it("opens no call once it is closed, and cancels the prewarmed one", async () => {
  const [first, second] = [calls.take(), calls.take()];
  await opened(2);
  await finish(first, served[0]);
  await opened(3);
  const cancelled = once(served[2] as Served, "cancelled");
  calls.close();
  await cancelled;
  await finish(second, served[1]);
  const probe = client.run();
  probe.on("error", () => {});
  await opened(4);
  await finish(probe, served[3]);
  expect(served).toHaveLength(4);
});

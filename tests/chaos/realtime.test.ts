/** A realtime socket while the processes behind it are killed. */
import { decode, encode } from "@msgpack/msgpack";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openSocket, type TestSocket } from "../integration/sockets.ts";
import { type Cluster, startCluster } from "./cluster.ts";

const STUB = "tempera/stub";
let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster(STUB);
});
afterAll(() => cluster[Symbol.asyncDispose]());

const connect = (): Promise<TestSocket> =>
  openSocket(`${cluster.url.replace("http", "ws")}/${STUB}/realtime`, {
    headers: { authorization: `Key ${cluster.key}` },
  });
type Output = { echo?: string; attempt?: number; action?: string };
async function until(socket: TestSocket, found: (output: Output) => boolean): Promise<Output> {
  for (;;) {
    const message = await socket.next();
    const output = (typeof message === "string" ? JSON.parse(message) : decode(message)) as Output;
    if (found(output)) return output;
  }
}
const send = async (socket: TestSocket, prompt: string): Promise<Output> => {
  socket.send(encode({ prompt }));
  return until(socket, ({ echo }) => echo === prompt);
};

describe("kill -9 behind an open realtime socket", () => {
  it("gpu-worker: another worker takes the session over, and the socket stays open", async () => {
    await using socket = await connect();
    expect(await send(socket, "before")).toMatchObject({ attempt: 1 });
    await cluster.kill("gpu-worker");
    await cluster.restart("gpu-worker");
    await until(socket, ({ action }) => action === "resumed");
    expect(await send(socket, "after")).toMatchObject({ attempt: 2 });
  });

  it.each(["orchestrator", "temporal", "postgres"] as const)(
    "%s: frames are relayed without interruption",
    async (part) => {
      await using socket = await connect();
      await send(socket, "before");
      await cluster.kill(part);
      expect(await send(socket, "meanwhile")).toMatchObject({ attempt: 1 });
      await cluster.restart(part);
      await send(socket, "after");
    },
  );

  it("redis: frames stop, and are relayed again after its restart", async () => {
    await using socket = await connect();
    await send(socket, "before");
    await cluster.kill("redis");
    await cluster.restart("redis");
    // Frames in transit are lost; an input has an output as soon as both ends are connected again.
    const sending = setInterval(() => socket.send(encode({ prompt: "after" })), 500);
    await until(socket, ({ echo }) => echo === "after");
    clearInterval(sending);
  });

  it("gateway: its sessions end, and their slots are free again", async () => {
    const sockets = await Promise.all(Array.from({ length: 64 }, connect));
    await Promise.all(sockets.map((socket) => send(socket, "hold")));
    await cluster.kill("gateway");
    await Promise.all(sockets.map(({ closed }) => closed));
    await cluster.restart("gateway");
    await using socket = await connect();
    expect(await send(socket, "capacity")).toMatchObject({ attempt: 1 });
  });
});

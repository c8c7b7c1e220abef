/** A realtime socket through the death of what is behind it. */
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
type Answer = { echo?: string; attempt?: number; action?: string };
async function until(socket: TestSocket, found: (answer: Answer) => boolean): Promise<Answer> {
  for (;;) {
    const message = await socket.next();
    const answer = (typeof message === "string" ? JSON.parse(message) : decode(message)) as Answer;
    if (found(answer)) return answer;
  }
}
const ask = async (socket: TestSocket, prompt: string): Promise<Answer> => {
  socket.send(encode({ prompt }));
  return until(socket, ({ echo }) => echo === prompt);
};

describe("kill -9 behind an open realtime socket", () => {
  it("gpu-worker: another one takes the session over, inputs meanwhile are answered, the socket stays", async () => {
    await using socket = await connect();
    expect(await ask(socket, "before")).toMatchObject({ attempt: 1 });
    await cluster.kill("gpu-worker");
    await cluster.restart("gpu-worker");
    await until(socket, ({ action }) => action === "resumed");
    expect(await ask(socket, "after")).toMatchObject({ attempt: 2 });
  });

  it.each(["orchestrator", "temporal", "postgres"] as const)(
    "%s: frames go on as if nothing happened",
    async (part) => {
      await using socket = await connect();
      await ask(socket, "before");
      await cluster.kill(part);
      expect(await ask(socket, "meanwhile")).toMatchObject({ attempt: 1 });
      await cluster.restart(part);
      await ask(socket, "after");
    },
  );

  it("redis: frames stop, and go on when it is back", async () => {
    await using socket = await connect();
    await ask(socket, "before");
    await cluster.kill("redis");
    await cluster.restart("redis");
    // What was under way is lost; an input is answered as soon as both ends hear each other again.
    const asking = setInterval(() => socket.send(encode({ prompt: "after" })), 500);
    await until(socket, ({ echo }) => echo === "after");
    clearInterval(asking);
  });

  it("gateway: its sessions end by themselves and their slots are free again", async () => {
    const sockets = await Promise.all(Array.from({ length: 64 }, connect));
    await Promise.all(sockets.map((socket) => ask(socket, "hold")));
    await cluster.kill("gateway");
    await Promise.all(sockets.map(({ closed }) => closed));
    await cluster.restart("gateway");
    await using socket = await connect();
    expect(await ask(socket, "room")).toMatchObject({ attempt: 1 });
  });
});

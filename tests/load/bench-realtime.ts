/**
 * `npm run bench:realtime`: the round trip of a frame to the engine and back. First every role is a process
 * of its own and frames travel over Redis, as in production; then the embedded default. A bare WebSocket echo
 * is measured for comparison.
 */
import { randomBytes } from "node:crypto";
import { encode } from "@msgpack/msgpack";
import { WebSocket, WebSocketServer } from "ws";
import { percentile, round, runBench, STUB, say } from "./harness.ts";

const summary = (ms: number[], seconds?: number) => ({
  p50_ms: round(percentile(ms, 50)),
  p99_ms: round(percentile(ms, 99)),
  ...(seconds && { frames_per_second: Math.round(ms.length / seconds) }),
});

interface Socket {
  /** Sends one frame; resolves with the milliseconds until its output has arrived. */
  roundTrip(frame: Uint8Array): Promise<number>;
  close(): Promise<void>;
}

async function connect(url: string, key?: string): Promise<Socket> {
  const ws = new WebSocket(url, {
    perMessageDeflate: false,
    ...(key && { headers: { authorization: `Key ${key}` } }),
  });
  let onOutput = (): void => {};
  let onFailure = (_: Error): void => {};
  ws.on("message", (data, isBinary) => {
    if (isBinary) return onOutput();
    const { type, error, reason } = JSON.parse(String(data));
    if (type !== "x-fal-message") onFailure(new Error(`${error}: ${reason}`));
  });
  ws.on("close", (code) => onFailure(new Error(`the socket closed with ${code}`)));
  await new Promise((open, fail) => ws.once("open", open).once("error", fail));
  return {
    roundTrip: (frame) =>
      new Promise((done, fail) => {
        const startedAtMs = performance.now();
        onOutput = () => done(performance.now() - startedAtMs);
        onFailure = fail;
        ws.send(frame);
      }),
    close: () =>
      new Promise((done) => {
        ws.once("close", () => done());
        ws.close(1000);
      }),
  };
}

const small = encode({ prompt: "a small frame" });
const large = encode({ payload: randomBytes(100 * 1024) });

/**
 * Measures one socket at a time, from connecting to the first output, then small frames, then frames of 100
 * KiB (the size of an image); then sixteen sockets at once.
 */
async function measure(url: string, scale: number, key?: string) {
  const first: number[] = [];
  for (let i = 0; i < 10 * scale; i++) {
    const startedAtMs = performance.now();
    const socket = await connect(url, key);
    await socket.roundTrip(small);
    first.push(performance.now() - startedAtMs);
    await socket.close();
  }
  const trips = async (socket: Socket, frame: Uint8Array, count: number): Promise<number[]> => {
    const ms: number[] = [];
    for (let i = 0; i < count; i++) ms.push(await socket.roundTrip(frame));
    return ms;
  };
  const socket = await connect(url, key);
  await trips(socket, small, 200);
  const smallMs = await trips(socket, small, 1000 * scale);
  await trips(socket, large, 20);
  const largeMs = await trips(socket, large, 200 * scale);
  await socket.close();
  const sockets = await Promise.all(Array.from({ length: 16 }, () => connect(url, key)));
  await Promise.all(sockets.map((one) => trips(one, small, 20)));
  const startedAtMs = performance.now();
  const manyMs = (await Promise.all(sockets.map((one) => trips(one, small, 200 * scale)))).flat();
  const seconds = (performance.now() - startedAtMs) / 1000;
  await Promise.all(sockets.map((one) => one.close()));
  return {
    connect_to_first_output: summary(first),
    small: summary(smallMs),
    image_100_kib: summary(largeMs),
    sixteen_sockets: summary(manyMs, seconds),
  };
}

await runBench("bench:realtime", "round trips of realtime frames through the stub engine", async (bench) => {
  const { closing, key, scale, atMost } = bench;
  const bareServer = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  bareServer.on("connection", (ws) => ws.on("message", (data) => ws.send(data as Buffer, { binary: true })));
  await new Promise((open) => bareServer.once("listening", open));
  closing.defer(() => new Promise((done) => bareServer.close(done)));
  const bare = await measure(`ws://127.0.0.1:${(bareServer.address() as { port: number }).port}`, scale);
  say(`bare echo: ${JSON.stringify(bare)}`);

  const address = (url: string): string => `${url.replace("http", "ws")}/${STUB}/realtime`;
  const production = await measure(address((await bench.startPlatform()).url), scale, key);
  say(`a process each, over Redis: ${JSON.stringify(production)}`);

  const embedded = await measure(address(await bench.startEmbedded()), scale, key);
  say(`embedded default: ${JSON.stringify(embedded)}`);

  atMost("round trip of a small frame p50, over Redis, ms", production.small.p50_ms, 10);
  atMost("round trip of a small frame p50, embedded, ms", embedded.small.p50_ms, 10);
  atMost("round trip of 100 KiB p50, over Redis, ms", production.image_100_kib.p50_ms, 40);
  atMost("connect to first output p50, over Redis, ms", production.connect_to_first_output.p50_ms, 250);
  bench.report({ bare_echo: bare, over_redis: production, embedded });
});

/** Checks of fal's JavaScript client. fal's names resolve to the server (resolve-fal.mjs). */
import { createFalClient } from "@fal-ai/client";
import WebSocket from "ws";
import { check, failure, STUB, same } from "./checks.mjs";

const { FAL_KEY, HOOK_URL, WAITING_MODEL, IMAGE } = process.env;
// Node 20 has none.
globalThis.WebSocket ??= WebSocket;
const fal = createFalClient({ credentials: FAL_KEY });
const ask = async (input) => (await fal.run(STUB, { input })).data;

await check("run answers with the output and the request's id", async () => {
  const { data, requestId } = await fal.run(STUB, { input: { prompt: "日本語 🎨" } });
  same([data.echo, requestId.length], ["日本語 🎨", 36]);
});
await check(
  "submit answers with three addresses; status of a waiting request has its position; cancel",
  async () => {
    const queued = await fal.queue.submit(WAITING_MODEL, { input: { prompt: "x", image_url: IMAGE } });
    for (const url of [queued.status_url, queued.response_url, queued.cancel_url])
      if (!url.includes(queued.request_id)) throw new Error(url);
    const request = { requestId: queued.request_id };
    const { status, queue_position } = await fal.queue.status(WAITING_MODEL, { ...request, logs: true });
    same([status, queue_position >= 0], ["IN_QUEUE", true]);
    await fal.queue.cancel(WAITING_MODEL, request);
  },
);
for (const mode of ["polling", "streaming"])
  await check(`subscribe by ${mode} reports its progress and logs with labels`, async () => {
    const updates = [];
    const { data } = await fal.subscribe(STUB, {
      input: { prompt: "x", delay_ms: 1500, steps: 3, unknown_field: 1 },
      mode,
      logs: true,
      pollInterval: 50,
      onQueueUpdate: (update) => updates.push(update),
    });
    same([data.echo, updates.at(-1).status], ["x", "COMPLETED"]);
    const lines = updates.flatMap(({ logs }) => logs ?? []);
    same(lines.length > 0 && lines.every(({ labels }) => labels.level && labels.source), true);
  });
await check("subscribe to a job that is silent for 14 s", async () => {
  const { data } = await fal.subscribe(STUB, { input: { prompt: "x", delay_ms: 14_000 }, mode: "streaming" });
  same(data.echo, "x");
});
await check("cancel ends a running request", async () => {
  const { request_id: requestId } = await fal.queue.submit(STUB, { input: { delay_ms: 60_000, steps: 600 } });
  while ((await fal.queue.status(STUB, { requestId })).status === "IN_QUEUE");
  await fal.queue.cancel(STUB, { requestId });
  await fal.queue.subscribeToStatus(STUB, { requestId, mode: "streaming" });
  same((await failure(() => fal.queue.result(STUB, { requestId }))).status, 499);
});
await check("errors have their status and fal's shapes: 401, 404, 422", async () => {
  const stranger = createFalClient({ credentials: "00000000-0000-4000-8000-000000000000:wrong" });
  same((await failure(() => stranger.run(STUB, { input: {} }))).status, 401);
  same((await failure(() => fal.run("nobody/nothing", { input: {} }))).status, 404);
  const unknown = { requestId: "019a1b2c-0000-7000-8000-000000000000" };
  same((await failure(() => fal.queue.status(STUB, unknown))).status, 404);
  const refused = await failure(() => ask({ fail: "invalid" }));
  same([refused.name, refused.status, refused.fieldErrors.length], ["ValidationError", 422, 1]);
  same(refused.body.detail[0].loc, ["body", "fail"]);
});
await check("stream yields events, and the output last", async () => {
  const stream = await fal.stream(STUB, { input: { prompt: "é😀", delay_ms: 60, steps: 2 } });
  let events = 0;
  for await (const _ of stream) events++;
  same([(await stream.done()).echo, events > 0], ["é😀", true]);
});
await check("realtime answers a message", async () => {
  const answer = await new Promise((onResult, onError) => {
    const connection = fal.realtime.connect(STUB, {
      onResult: (result) => {
        connection.close();
        onResult(result);
      },
      onError,
    });
    connection.send({ prompt: "hello" });
  });
  same(answer.echo, "hello");
});
await check("upload of a file with a name beyond ASCII, and an input that is a file", async () => {
  const url = await fal.storage.upload(new File(["a file"], "日本語.txt", { type: "text/plain" }));
  same([await (await fetch(url)).text(), url.endsWith(".txt")], ["a file", true]);
  const file = new Blob(["a blob"], { type: "text/plain" });
  same((await ask({ file_url: file })).input_file.bytes, 6);
});
await check("files of an output can be read", async () => {
  const { file } = await ask({ artifact_bytes: 1000 });
  same((await (await fetch(file.url)).arrayBuffer()).byteLength, 1000);
});
await check("submit with a webhook", () =>
  fal.queue.submit(STUB, { input: { prompt: "hook" }, webhookUrl: HOOK_URL }),
);
process.exit(0);

/**
 * A program written for fal, which names no other server. Makes the call that its argument names, and prints
 * the result as JSON.
 */
import { fal } from "@fal-ai/client";

const CALLS = {
  async queue() {
    const submitted = await fal.queue.submit("tempera/stub", { input: { prompt: "one" } });
    await fal.queue.subscribeToStatus("tempera/stub", { requestId: submitted.request_id, mode: "streaming" });
    const { data } = await fal.queue.result("tempera/stub", { requestId: submitted.request_id });
    return { status_url: submitted.status_url, data };
  },
  subscribe: () => fal.subscribe("tempera/stub", { input: { prompt: "one" }, pollInterval: 50 }),
  run: () => fal.run("tempera/stub", { input: { prompt: "one" } }),
  async stream() {
    const stream = await fal.stream("tempera/stub", { input: { prompt: "one" } });
    return { data: await stream.done() };
  },
  async upload() {
    const url = await fal.storage.upload(new Blob(["hello"], { type: "text/plain" }));
    return { url, text: await (await fetch(url)).text() };
  },
};

console.log(JSON.stringify(await CALLS[process.argv[2]]()));

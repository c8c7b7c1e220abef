/**
 * The unmodified official JavaScript client: submit, follow the status, save the image.
 *
 *     export TEMPERA_KEY=$(cat .tempera/key)
 *     node examples/javascript/subscribe.mjs ["a large red circle on a blue background"] [image.png]
 *
 * TEMPERA_URL is the address of the platform; default: http://localhost:8080. Outside of this repository:
 * `npm install @fal-ai/client`.
 */
import { writeFile } from "node:fs/promises";
import { fal } from "@fal-ai/client";

const url = process.env.TEMPERA_URL ?? "http://localhost:8080";
const [prompt = "a large red circle on a blue background", file = "image.png"] = process.argv.slice(2);

fal.config({
  credentials: process.env.TEMPERA_KEY,
  // The only line that differs: every call goes to the platform, which recognises the call by its original
  // address.
  proxyUrl: { url: `${url}/api/fal/proxy`, when: "always" },
});

const { data, requestId } = await fal.subscribe("fal-ai/qwen-image", {
  input: { prompt },
  mode: "streaming",
  logs: true,
  onEnqueue: (id) => console.log(`request ${id}`),
  onQueueUpdate: (update) => {
    for (const { message } of update.logs ?? []) console.log(`  ${message}`);
    if (update.status === "IN_QUEUE") console.log(`${update.queue_position} ahead in the queue`);
    // `progress` is Tempera's addition to fal's status: the denoising steps that are done.
    if (update.progress) console.log(`step ${update.progress.step}/${update.progress.steps}`);
  },
});

const [image] = data.images;
const response = await fetch(image.url);
await writeFile(file, Buffer.from(await response.arrayBuffer()));
console.log(`saved ${file} (${image.width}x${image.height}, seed ${data.seed}, request ${requestId})`);

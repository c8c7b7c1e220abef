/**
 * The official JavaScript client, unmodified: submit, watch, save the picture.
 *
 *     export TEMPERA_KEY=$(cat .tempera/key)
 *     node examples/javascript/subscribe.mjs ["a large red circle on a blue background"] [picture.png]
 *
 * TEMPERA_URL says where the platform is; default http://localhost:8080. Outside this repository: `npm
 * install @fal-ai/client`.
 */
import { writeFile } from "node:fs/promises";
import { fal } from "@fal-ai/client";

const url = process.env.TEMPERA_URL ?? "http://localhost:8080";
const [prompt = "a large red circle on a blue background", file = "picture.png"] = process.argv.slice(2);

fal.config({
  credentials: process.env.TEMPERA_KEY,
  // The one line that is different: every call goes to the platform, which sees from the address it was meant
  // for what to do.
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
    // `progress` is Tempera's addition to fal's status: denoising steps done.
    if (update.progress) console.log(`step ${update.progress.step}/${update.progress.steps}`);
  },
});

const [image] = data.images;
const picture = await fetch(image.url);
await writeFile(file, Buffer.from(await picture.arrayBuffer()));
console.log(`saved ${file} (${image.width}x${image.height}, seed ${data.seed}, request ${requestId})`);

/**
 * A fal workflow whose definition is part of the call, with the unmodified official JavaScript client: an
 * image, and a video that begins with it.
 *
 *     export TEMPERA_KEY=$(cat .tempera/key)
 *     node examples/javascript/workflow.mjs ["a large red circle on a blue background"] \
 *       ["it bounces on the floor"] [video.mp4]
 *
 * TEMPERA_URL is the address of the platform; default: http://localhost:8080. Outside of this repository:
 * `npm install @fal-ai/client`.
 */
import { readFile, writeFile } from "node:fs/promises";
import { fal } from "@fal-ai/client";

const url = process.env.TEMPERA_URL ?? "http://localhost:8080";
const [
  scene = "a large red circle on a blue background",
  motion = "it bounces on the floor",
  file = "video.mp4",
] = process.argv.slice(2);

fal.config({
  credentials: process.env.TEMPERA_KEY,
  proxyUrl: { url: `${url}/api/fal/proxy`, when: "always" },
});

const { nodes } = JSON.parse(
  await readFile(new URL("../workflows/text-to-video.json", import.meta.url), "utf8"),
);
const stream = await fal.stream("workflows/execute", {
  input: { input: { scene, motion }, workflow: nodes },
});
for await (const event of stream) {
  // Each node is a request of its own: the queue knows its id.
  if (event.type === "submit")
    console.log(`${event.node_id} runs ${event.app_id}, request ${event.request_id}`);
  if (event.type === "completion") console.log(`${event.node_id} is done`);
}
const end = await stream.done();
if (end.type !== "output") throw new Error(`${end.node_id}: ${end.message}`);

const bytes = await fetch(end.output.video.url);
await writeFile(file, Buffer.from(await bytes.arrayBuffer()));
console.log(`saved ${file}; the image is ${end.output.image.url}`);

/**
 * A fal workflow that comes with the call, with the official JavaScript client, unmodified: a picture, and a
 * film that begins with it.
 *
 *     export TEMPERA_KEY=$(cat .tempera/key)
 *     node examples/javascript/workflow.mjs ["a large red circle on a blue background"] ["it bounces on the floor"] [film.mp4]
 *
 * TEMPERA_URL says where the platform is; default http://localhost:8080. Outside this repository: `npm
 * install @fal-ai/client`.
 */
import { readFile, writeFile } from "node:fs/promises";
import { fal } from "@fal-ai/client";

const url = process.env.TEMPERA_URL ?? "http://localhost:8080";
const [
  scene = "a large red circle on a blue background",
  motion = "it bounces on the floor",
  file = "film.mp4",
] = process.argv.slice(2);

fal.config({
  credentials: process.env.TEMPERA_KEY,
  proxyUrl: { url: `${url}/api/fal/proxy`, when: "always" },
});

const { nodes } = JSON.parse(
  await readFile(new URL("../workflows/picture-to-film.json", import.meta.url), "utf8"),
);
const stream = await fal.stream("workflows/execute", {
  input: { input: { scene, motion }, workflow: nodes },
});
for await (const event of stream) {
  // Each node is a request of its own: its id can be asked for on the queue.
  if (event.type === "submit")
    console.log(`${event.node_id} runs ${event.app_id}, request ${event.request_id}`);
  if (event.type === "completion") console.log(`${event.node_id} is done`);
}
const end = await stream.done();
if (end.type !== "output") throw new Error(`${end.node_id}: ${end.message}`);

const bytes = await fetch(end.output.film.url);
await writeFile(file, Buffer.from(await bytes.arrayBuffer()));
console.log(`saved ${file}; the picture is ${end.output.picture.url}`);

/**
 * From a prompt to a film with sound in one call, with the official JavaScript client, unmodified: what the
 * pipeline's nodes do is told as it happens, and each is a request of its own.
 *
 *     export TEMPERA_KEY=$(cat .tempera/key)
 *     node examples/javascript/pipeline.mjs ["a large red circle on a blue background"] ["it bounces on the floor"] [film.mp4]
 *
 * TEMPERA_URL says where the platform is; default http://localhost:8080. Outside this repository: `npm
 * install @fal-ai/client`.
 */
import { writeFile } from "node:fs/promises";
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

const stream = await fal.stream("tempera/film-with-sound", {
  input: { prompt: scene, video_prompt: `${scene}, ${motion}`, num_frames: 33, seed: 7 },
});
for await (const event of stream) {
  if (event.type === "submit") console.log(`${event.node_id}: ${event.app_id}, request ${event.request_id}`);
  if (event.type === "completion") console.log(`${event.node_id}: done`);
}
const { output } = await stream.done();

const bytes = await fetch(output.video.url);
await writeFile(file, Buffer.from(await bytes.arrayBuffer()));
console.log(`saved ${file} (${output.video.file_size} bytes)`);

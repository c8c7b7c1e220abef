/**
 * From a prompt to a video with audio in one call, with the unmodified official JavaScript client. The stream
 * reports the progress of the pipeline's nodes; each node is a request of its own.
 *
 *     export TEMPERA_KEY=$(cat .tempera/key)
 *     node examples/javascript/pipeline.mjs ["a large red circle on a blue background"] \
 *       ["it bounces on the floor"] [video.mp4]
 *
 * TEMPERA_URL is the address of the platform; default: http://localhost:8080. Outside of this repository:
 * `npm install @fal-ai/client`.
 */
import { writeFile } from "node:fs/promises";
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

const stream = await fal.stream("tempera/text-to-video-with-audio", {
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

/**
 * From a prompt to a video with audio, with the unmodified official JavaScript client: an image, a video that
 * begins with it, and the audio of the video.
 *
 *     export TEMPERA_KEY=$(cat .tempera/key)
 *     node examples/javascript/video.mjs ["a large red circle on a blue background"] \
 *       ["bounces on the floor"] [video.mp4]
 *
 * TEMPERA_URL is the address of the platform; default: http://localhost:8080. Outside of this repository:
 * `npm install @fal-ai/client`.
 */
import { writeFile } from "node:fs/promises";
import { fal } from "@fal-ai/client";

const url = process.env.TEMPERA_URL ?? "http://localhost:8080";
const [
  scene = "a large red circle on a blue background",
  motion = "bounces on the floor",
  file = "video.mp4",
] = process.argv.slice(2);

fal.config({
  credentials: process.env.TEMPERA_KEY,
  proxyUrl: { url: `${url}/api/fal/proxy`, when: "always" },
});

async function generate(endpoint, input) {
  console.log(endpoint);
  const { data } = await fal.subscribe(endpoint, {
    input,
    mode: "streaming",
    logs: true,
    onQueueUpdate: ({ logs, progress }) => {
      for (const { message } of logs ?? []) console.log(`  ${message}`);
      if (progress) console.log(`  step ${progress.step}/${progress.steps}`);
    },
  });
  return data;
}

// The output of one model is passed to the next by its address: nothing is downloaded in between.
const { images } = await generate("fal-ai/qwen-image", { prompt: scene, image_size: "landscape_16_9" });
const silent = await generate("fal-ai/wan/v2.2-a14b/image-to-video", {
  prompt: `${scene}, it ${motion}`,
  image_url: images[0].url,
});
const { video } = await generate("fal-ai/mmaudio-v2", { prompt: "drum", video_url: silent.video.url });

const bytes = await fetch(video.url);
await writeFile(file, Buffer.from(await bytes.arrayBuffer()));
console.log(`saved ${file} (${video.file_size} bytes)`);

/**
 * From a prompt to a film with sound, with the official JavaScript client, unmodified: a picture, a film that
 * begins with it, its sound.
 *
 *     export TEMPERA_KEY=$(cat .tempera/key)
 *     node examples/javascript/film.mjs ["a large red circle on a blue background"] ["bounces on the floor"] [film.mp4]
 *
 * TEMPERA_URL says where the platform is; default http://localhost:8080. Outside this repository: `npm
 * install @fal-ai/client`.
 */
import { writeFile } from "node:fs/promises";
import { fal } from "@fal-ai/client";

const url = process.env.TEMPERA_URL ?? "http://localhost:8080";
const [
  scene = "a large red circle on a blue background",
  motion = "bounces on the floor",
  file = "film.mp4",
] = process.argv.slice(2);

fal.config({
  credentials: process.env.TEMPERA_KEY,
  proxyUrl: { url: `${url}/api/fal/proxy`, when: "always" },
});

async function make(endpoint, input) {
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

// What one model made is given to the next by its address: nothing is downloaded in between.
const { images } = await make("fal-ai/qwen-image", { prompt: scene, image_size: "landscape_16_9" });
const film = await make("fal-ai/wan/v2.2-a14b/image-to-video", {
  prompt: `${scene}, it ${motion}`,
  image_url: images[0].url,
});
const { video } = await make("fal-ai/mmaudio-v2", { prompt: "drum", video_url: film.video.url });

const bytes = await fetch(video.url);
await writeFile(file, Buffer.from(await bytes.arrayBuffer()));
console.log(`saved ${file} (${video.file_size} bytes)`);

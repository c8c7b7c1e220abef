import inputSchema from "../../../schemas/pipelines/tempera/film-with-sound/1.0.0/input.json" with {
  type: "json",
};
import outputSchema from "../../../schemas/pipelines/tempera/film-with-sound/1.0.0/output.json" with {
  type: "json",
};
import { definePipeline, type SchemaOf } from "./define-pipeline.ts";
import type { EndpointTypes } from "./endpoint-types.ts";
import { IMAGE_SIZE } from "./image-to-video.ts";

type Types = EndpointTypes["tempera/film-with-sound"];

/** The sound's model takes seeds of 16 bits, and makes 1 to 30 seconds. */
const SOUND_SEEDS = 65_536;
const SOUND_SECONDS_MIN = 1;
const SOUND_SECONDS_MAX = 30;

/** A picture, a film that begins with it, and the sound of that film. */
export const filmWithSound = definePipeline(
  {
    id: "tempera/film-with-sound",
    version: "1.0.0",
    title: "Film with sound",
    description:
      "Draws a picture of a prompt, makes a film that begins with it, and gives the film its sound.",
    category: "text-to-video",
    input: inputSchema as SchemaOf<Types["checked"]>,
    output: outputSchema as SchemaOf<Types["output"]>,
    calls: ["fal-ai/qwen-image", "fal-ai/wan/v2.2-a14b/image-to-video", "fal-ai/mmaudio-v2"],
  },
  async ({ run, input }) => {
    const { prompt, negative_prompt, seed } = input;
    const { images } = await run(
      "fal-ai/qwen-image",
      {
        prompt,
        negative_prompt,
        seed,
        image_size: IMAGE_SIZE[input.aspect_ratio],
        num_inference_steps: input.image_steps,
      },
      { node: "image" },
    );
    const [image] = images;
    if (!image) throw new Error("The picture's model gave no picture.");
    const film = await run(
      "fal-ai/wan/v2.2-a14b/image-to-video",
      {
        prompt: input.video_prompt ?? prompt,
        negative_prompt,
        seed,
        image_url: image.url,
        aspect_ratio: input.aspect_ratio,
        resolution: input.resolution,
        num_frames: input.num_frames,
        frames_per_second: input.frames_per_second,
        num_inference_steps: input.video_steps,
      },
      { node: "video" },
    );
    const seconds = input.num_frames / input.frames_per_second;
    const { video } = await run(
      "fal-ai/mmaudio-v2",
      {
        prompt: input.sound_prompt,
        video_url: film.video.url,
        duration: Math.min(Math.max(seconds, SOUND_SECONDS_MIN), SOUND_SECONDS_MAX),
        num_steps: input.sound_steps,
        seed: seed % SOUND_SEEDS,
      },
      { node: "sound" },
    );
    return { image, silent_video: film.video, video, seed };
  },
);

import inputJson from "../../../schemas/pipelines/tempera/text-to-video/1.0.0/input.json" with {
  type: "json",
};
import outputJson from "../../../schemas/pipelines/tempera/text-to-video/1.0.0/output.json" with {
  type: "json",
};
import { definePipeline, type OutputOf, type RunNode, type SchemaOf } from "./define-pipeline.ts";
import type { EndpointTypes } from "./endpoint-types.ts";

type Types = EndpointTypes["tempera/text-to-video"];
type Input = Types["checked"];

const IMAGE_MODEL = "fal-ai/qwen-image";
const VIDEO_MODEL = "fal-ai/wan/v2.2-a14b/image-to-video";

/** The endpoints that `createVideo` calls. */
export const VIDEO_CALLS = [IMAGE_MODEL, VIDEO_MODEL] as const;

/** fal's image sizes with the aspect ratios of the video model, so that the image is not cropped. */
const IMAGE_SIZE = { "16:9": "landscape_16_9", "9:16": "portrait_16_9", "1:1": "square_hd" } as const;

/** Generates an image of the prompt (node `image`), then a video that begins with it (node `video`). */
export async function createVideo(
  run: RunNode<(typeof VIDEO_CALLS)[number]>,
  input: Input,
): Promise<{
  image: OutputOf<typeof IMAGE_MODEL>["images"][number];
  video: OutputOf<typeof VIDEO_MODEL>["video"];
}> {
  const { prompt, negative_prompt, seed, aspect_ratio } = input;
  const { images } = await run(
    IMAGE_MODEL,
    {
      prompt,
      negative_prompt,
      seed,
      image_size: IMAGE_SIZE[aspect_ratio],
      num_inference_steps: input.image_steps,
    },
    { node: "image" },
  );
  const [image] = images;
  if (!image) throw new Error("The image model returned no image.");
  const { video } = await run(
    VIDEO_MODEL,
    {
      prompt: input.video_prompt ?? prompt,
      negative_prompt,
      seed,
      image_url: image.url,
      aspect_ratio,
      resolution: input.resolution,
      num_frames: input.num_frames,
      frames_per_second: input.frames_per_second,
      num_inference_steps: input.video_steps,
    },
    { node: "video" },
  );
  return { image, video };
}

/** An image of a prompt, and a video that begins with it. */
export const textToVideo = definePipeline(
  {
    id: "tempera/text-to-video",
    version: "1.0.0",
    title: "Text to video",
    description: "Generates an image of a prompt and a video that begins with this image.",
    category: "text-to-video",
    input: inputJson as SchemaOf<Input>,
    output: outputJson as SchemaOf<Types["output"]>,
    calls: VIDEO_CALLS,
  },
  async ({ run, input }) => ({ ...(await createVideo(run, input)), seed: input.seed }),
);

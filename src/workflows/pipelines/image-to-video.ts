import inputSchema from "../../../schemas/pipelines/tempera/picture-to-film/1.0.0/input.json" with {
  type: "json",
};
import outputSchema from "../../../schemas/pipelines/tempera/picture-to-film/1.0.0/output.json" with {
  type: "json",
};
import { definePipeline, type SchemaOf } from "./define-pipeline.ts";
import type { EndpointTypes } from "./endpoint-types.ts";

type Types = EndpointTypes["tempera/picture-to-film"];

/** fal's names for the shapes in which the picture is made, so that the film need not cut it. */
export const IMAGE_SIZE = { "16:9": "landscape_16_9", "9:16": "portrait_16_9", "1:1": "square_hd" } as const;

/** A picture, and a film that begins with it. */
export const pictureToFilm = definePipeline(
  {
    id: "tempera/picture-to-film",
    version: "1.0.0",
    title: "Picture to film",
    description: "Draws a picture of a prompt and makes a film that begins with it.",
    category: "text-to-video",
    input: inputSchema as SchemaOf<Types["checked"]>,
    output: outputSchema as SchemaOf<Types["output"]>,
    calls: ["fal-ai/qwen-image", "fal-ai/wan/v2.2-a14b/image-to-video"],
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
    const { video } = await run(
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
    return { image, video, seed };
  },
);

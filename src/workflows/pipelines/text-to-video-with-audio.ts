import inputJson from "../../../schemas/pipelines/tempera/text-to-video-with-audio/1.0.0/input.json" with {
  type: "json",
};
import outputJson from "../../../schemas/pipelines/tempera/text-to-video-with-audio/1.0.0/output.json" with {
  type: "json",
};
import { definePipeline, type SchemaOf } from "./define-pipeline.ts";
import type { EndpointTypes } from "./endpoint-types.ts";
import { createVideo, VIDEO_CALLS } from "./text-to-video.ts";

type Types = EndpointTypes["tempera/text-to-video-with-audio"];

const AUDIO_MODEL = "fal-ai/mmaudio-v2";

/** The audio model takes seeds of 16 bits and generates 1 to 30 seconds. */
const AUDIO_SEEDS = 65_536;
const AUDIO_SECONDS_MIN = 1;
const AUDIO_SECONDS_MAX = 30;

/** An image of a prompt, a video that begins with it, and the same video with audio. */
export const textToVideoWithAudio = definePipeline(
  {
    id: "tempera/text-to-video-with-audio",
    version: "1.0.0",
    title: "Text to video with audio",
    description:
      "Generates an image of a prompt, a video that begins with this image, and audio for the video.",
    category: "text-to-video",
    input: inputJson as SchemaOf<Types["checked"]>,
    output: outputJson as SchemaOf<Types["output"]>,
    calls: [...VIDEO_CALLS, AUDIO_MODEL],
  },
  async ({ run, input }) => {
    const { image, video: silentVideo } = await createVideo(run, input);
    const seconds = input.num_frames / input.frames_per_second;
    const { video } = await run(
      AUDIO_MODEL,
      {
        prompt: input.audio_prompt,
        video_url: silentVideo.url,
        duration: Math.min(Math.max(seconds, AUDIO_SECONDS_MIN), AUDIO_SECONDS_MAX),
        num_steps: input.audio_steps,
        seed: input.seed % AUDIO_SEEDS,
      },
      { node: "audio" },
    );
    return { image, silent_video: silentVideo, video, seed: input.seed };
  },
);

/** The ONNX engine's runner: which kinds of inference it has, and the one that was loaded. */

import type { JsonObject } from "../../../core/json/json.ts";
import type { RunEmitter, Runner, RunnerLoad, RunnerRun } from "../../engine-sdk/engine-server.ts";
import { loadImageToImage, loadTextToImage } from "./image/text-to-image.ts";

/** A loaded model of one kind. */
interface LoadedModel {
  run(
    run: RunnerRun,
    emit: RunEmitter,
    signal: AbortSignal,
  ): Promise<{ output: JsonObject; inferenceMs: number }>;
}

/** `runner:` of a manifest → how its models are loaded. */
const RUNNERS: Record<
  string,
  (load: RunnerLoad, progress: (fraction: number, says: string) => void) => Promise<LoadedModel>
> = {
  "text-to-image": loadTextToImage,
  "image-to-image": loadImageToImage,
  // FFmpeg is large, and under the GPL: only who makes films loads it.
  video_to_audio: async (...load) => (await import("./audio/video-to-audio.ts")).loadVideoToAudio(...load),
  wan_video: async (...load) => (await import("./video/wan-video.ts")).loadWanVideo(...load),
};

/** Runs at once, whatever a manifest says: each holds latents and a finished picture or two. */
const RUNS_MAX = 64;

export function createOnnxRunner(): Runner {
  let model: LoadedModel | undefined;
  return {
    describe: () => ({
      runners: Object.keys(RUNNERS),
      supportsStreaming: false,
      artifactTypes: ["image/png", "image/jpeg", "video/mp4"],
      maxBatch: RUNS_MAX,
      supportsCheckpoint: true,
    }),
    async load(load, progress) {
      const loadModel = RUNNERS[load.runner];
      if (!loadModel) throw new Error(`There is no runner "${load.runner}".`);
      model = await loadModel(load, progress);
    },
    async run(run, emit, signal) {
      if (!model) throw new Error("Nothing is loaded.");
      return model.run(run, emit, signal);
    },
  };
}

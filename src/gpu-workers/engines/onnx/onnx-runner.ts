/** The runner of the ONNX engine: loads one model of one of its kinds, and runs it. */
import type { RunEmitter, Runner, RunnerLoad, RunnerRun } from "../../engine-sdk/runner.ts";
import { loadImageToImage, loadTextToImage } from "./image/text-to-image.ts";
import type { LoadedModel, LoadProgress } from "./runtime/loaded-model.ts";

/** Loaders by `runner:` of the manifest. */
const RUNNERS: Record<string, (load: RunnerLoad, progress: LoadProgress) => Promise<LoadedModel>> = {
  "text-to-image": loadTextToImage,
  "image-to-image": loadImageToImage,
  // FFmpeg is large, and under the GPL: only the kinds that read or write videos load it.
  video_to_audio: async (...load) => (await import("./audio/video-to-audio.ts")).loadVideoToAudio(...load),
  wan_video: async (...load) => (await import("./video/wan-video.ts")).loadWanVideo(...load),
};

/** The most runs at once, whatever a manifest says: each holds latents and a finished image or two. */
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
    async load(load: RunnerLoad, progress: LoadProgress) {
      const loadModel = RUNNERS[load.runner];
      if (!loadModel) throw new Error(`The ONNX engine has no runner "${load.runner}".`);
      model = await loadModel(load, progress);
    },
    async run(run: RunnerRun, emit: RunEmitter, signal: AbortSignal) {
      if (!model) throw new Error("No model is loaded.");
      return model.run(run, emit, signal);
    },
  };
}

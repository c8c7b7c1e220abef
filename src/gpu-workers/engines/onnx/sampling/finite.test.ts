import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { parse } from "yaml";
import type { JsonObject } from "../../../../core/json/json.ts";
import type { RunEmitter } from "../../../engine-sdk/run-emitter.ts";
import { loadVideoToAudio } from "../audio/video-to-audio.ts";
import { loadTextToImage } from "../image/text-to-image.ts";
import { testClip } from "../media/clip.fixture.ts";
import { loadWanVideo } from "../video/wan-video.ts";

const MODELS = join(import.meta.dirname, "../../../../../models/fal-ai");
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-broken-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const signal = new AbortController().signal;
const emit: RunEmitter = { log: () => {}, progress: () => {}, artifact: async () => ({ $artifact: 0 }) };

/** Copies a model and makes some of its decoder's weights NaN, as in a model that overflows. */
async function broken(name: string) {
  const own = join(folder, name);
  await cp(join(MODELS, name), own, { recursive: true });
  const decoder = join(own, "vae_decoder/model.onnx");
  const bytes = await readFile(decoder);
  await writeFile(decoder, bytes.fill(0xff, bytes.length >> 1, (bytes.length >> 1) + 64));
  const { parameters } = parse(await readFile(join(own, "model.yaml"), "utf8")) as { parameters: JsonObject };
  return { endpoint: "e", version: "1.0.0", runner: "r", folder: own, parameters };
}

const fault = { code: "runner_server_error", message: "The decoder gave numbers that are not finite." };

it("fails an image that is not finite, instead of sending a black one", async () => {
  const model = await loadTextToImage(await broken("qwen-image/1.0.0"), () => {});
  const input = {
    prompt: "",
    negative_prompt: "",
    num_inference_steps: 2,
    guidance_scale: 1,
    num_images: 1,
    seed: 1,
  };
  const rest = { use_turbo: false, enable_safety_checker: false, output_format: "png" };
  await expect(
    model.run({ requestId: "r", attempt: 1, input: { ...input, ...rest }, files: [] }, emit, signal),
  ).rejects.toMatchObject(fault);
});

it("fails a video that is not finite", async () => {
  const model = await loadWanVideo(await broken("wan/v2.2-a14b/text-to-video/1.0.0"), () => {});
  const input = {
    prompt: "",
    negative_prompt: "",
    num_frames: 17,
    frames_per_second: 8,
    seed: 1,
    resolution: "480p",
    aspect_ratio: "1:1",
  };
  const steps = {
    num_inference_steps: 2,
    guidance_scale: 1,
    guidance_scale_2: 1,
    shift: 5,
    acceleration: "none",
  };
  const shape = {
    interpolator_model: "none",
    num_interpolated_frames: 0,
    adjust_fps_for_interpolation: true,
  };
  const rest = {
    enable_safety_checker: false,
    enable_output_safety_checker: false,
    video_quality: "low",
    video_write_mode: "fast",
  };
  const run = { requestId: "r", attempt: 1, input: { ...input, ...steps, ...shape, ...rest }, files: [] };
  await expect(model.run(run, emit, signal)).rejects.toMatchObject(fault);
});

it("fails audio that is not finite", async () => {
  await using clip = await testClip();
  const model = await loadVideoToAudio(await broken("mmaudio-v2/1.0.0"), () => {});
  const input = {
    video_url: "attachment:0",
    prompt: "",
    negative_prompt: "",
    seed: 1,
    num_steps: 2,
    duration: 1,
    cfg_strength: 1,
  };
  const files = [{ path: clip.path, contentType: "video/mp4", bytes: 1, sha256: "" }];
  const run = { requestId: "r", attempt: 1, input: { ...input, mask_away_clip: false }, files };
  await expect(model.run(run, emit, signal)).rejects.toMatchObject(fault);
});

import { createHash } from "node:crypto";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { InputFile } from "../../../../core/files/input-file.ts";
import type { JsonObject } from "../../../../core/json/json.ts";
import type { RunState } from "../../../contract/checkpoint.ts";
import { FLAGGED } from "../image/safety-check.ts";
import { decodeClip } from "../media/decode-clip.ts";
import type { LoadedModel } from "../runtime/loaded-model.ts";
import { loadWanVideo } from "./wan-video.ts";

/** Networks with known results, described in tiny-models.fixtures/make.py. */
const TINY = join(import.meta.dirname, "../tiny-models.fixtures/wan");
const RED_IS_UNSAFE = join(TINY, "../red-is-unsafe.onnx");
const parameters: JsonObject = {
  threads: 1,
  nativeSizes: [
    { width: 64, height: 32 },
    { width: 32, height: 64 },
    { width: 32, height: 32 },
  ],
  latentChannels: 3,
  pixelsPerLatent: 8,
  temporalStride: 4,
  framesMin: 5,
  framesMax: 21,
  patch: 2,
  textTokensMax: 8,
};
const load = (change: JsonObject = {}, folder = TINY) =>
  loadWanVideo(
    {
      endpoint: "e",
      version: "1.0.0",
      runner: "wan_video",
      folder,
      parameters: { ...parameters, ...change },
    },
    () => {},
  );

const defaults: JsonObject = {
  prompt: "high",
  negative_prompt: "",
  num_frames: 9,
  frames_per_second: 8,
  seed: 7,
  resolution: "480p",
  aspect_ratio: "1:1",
  num_inference_steps: 3,
  guidance_scale: 3,
  guidance_scale_2: 6,
  shift: 5,
  acceleration: "none",
  interpolator_model: "none",
  num_interpolated_frames: 1,
  adjust_fps_for_interpolation: true,
  enable_safety_checker: false,
  enable_output_safety_checker: false,
  video_quality: "maximum",
  video_write_mode: "fast",
};

/** The data that the tiny transformer makes of the token ids of "" and "high". */
const [NOTHING, HIGH] = [2.5 / 10 - 1, 10 / 3 / 10 - 1];
const grey = (value: number): number => (value + 1) * 127.5;

let folder: string;
let model: LoadedModel;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-wan-"));
  model = await load();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Options {
  of?: LoadedModel;
  files?: InputFile[];
  signal?: AbortSignal;
  resume?: RunState;
  keep?: (state: RunState) => void;
  previews?: Buffer[];
}

async function run(
  change: JsonObject = {},
  { of = model, files = [], signal, resume, keep, previews }: Options = {},
) {
  const logs: string[] = [];
  const steps: string[] = [];
  let bytes = Buffer.alloc(0);
  let head: object = {};
  const { output } = await of.run(
    { requestId: "request", attempt: 1, input: { ...defaults, ...change }, files, ...(resume && { resume }) },
    {
      log: (level, message) => logs.push(`${level} ${message}`),
      progress: (step, total) => steps.push(`${step}/${total}`),
      artifact: async (file, content) => {
        [head, bytes] = [file, Buffer.from(content)];
        return { $artifact: 0 };
      },
      ...(keep && { checkpoint: (step, state) => keep({ step, ...state() }) }),
      ...(previews && { preview: (_step, _type, data) => previews.push(Buffer.from(data)) }),
    },
    signal ?? new AbortController().signal,
  );
  const path = join(folder, `${createHash("sha256").update(bytes).digest("hex")}.mp4`);
  await writeFile(path, bytes);
  const clip = await decodeClip(path);
  /** Mean of a frame's first channel, 0..255. */
  const brightness = (frame: number) => {
    const image = clip.frames.at(frame) ?? Buffer.alloc(0);
    let sum = 0;
    for (let i = 0; i < image.length; i += 3) sum += image[i] ?? 0;
    return sum / (image.length / 3);
  };
  return { output, logs, steps, head, bytes, clip, brightness };
}

async function inputImage(
  width: number,
  height: number,
  color: string,
): Promise<{ files: InputFile[]; image_url: string }> {
  const path = join(folder, `${width}x${height}-${color}.png`);
  await sharp({ create: { width, height, channels: 3, background: color } })
    .png()
    .toFile(path);
  return { files: [{ path, contentType: "image/png", bytes: 1, sha256: "" }], image_url: "attachment:0" };
}

describe("wan_video", () => {
  it("returns fal's output, with the requested video", async () => {
    const { output, steps, head, clip, logs } = await run();
    expect(output).toEqual({ video: { $artifact: 0 }, prompt: "high", seed: 7 });
    expect(head).toEqual({ contentType: "video/mp4", fileName: "7.mp4", width: 480, height: 480 });
    expect(clip).toMatchObject({ width: 480, height: 480, fps: 8, codecs: ["avc1"] });
    expect(clip.frames).toHaveLength(9);
    expect(steps).toEqual(["1/3", "2/3", "3/3"]);
    expect(logs).toEqual(["INFO Rendered at 32x32, scaled to 480x480."]);
  });

  it("follows the prompt as strongly as it is guided, and the negative prompt", async () => {
    const plain = await run({ guidance_scale: 1 });
    expect(plain.brightness(4)).toBeCloseTo(grey(HIGH), -0.5);
    const { brightness } = await run({ guidance_scale: 3 });
    expect(brightness(4)).toBeCloseTo(grey(NOTHING + 3 * (HIGH - NOTHING)), -0.5);
    const negative = await run({ guidance_scale: 3, negative_prompt: "low" });
    expect(negative.brightness(4)).toBeLessThan(brightness(4) - 3);
  });

  it("gives the same bytes for the same seed", async () => {
    const [one, again] = [await run(), await run()];
    expect(one.bytes.equals(again.bytes)).toBe(true);
    expect((await run({ seed: null })).output.seed).toEqual(expect.any(Number));
    const huge = await run({ seed: 2n ** 64n - 1n });
    expect(huge.output.seed).toBe(2n ** 64n - 1n);
    expect(huge.head).toMatchObject({ fileName: "18446744073709551615.mp4" });
    await expect(run({ seed: 2n ** 64n })).rejects.toMatchObject({ code: "input_invalid" });
  });

  it("begins with the input image, and continues with the prompt", async () => {
    const { files, image_url } = await inputImage(100, 100, "#c8c8c8");
    const { brightness, logs } = await run({ image_url, aspect_ratio: "auto" }, { files });
    expect(brightness(0)).toBeCloseTo(200, -0.5);
    expect(brightness(4)).toBeCloseTo(grey(NOTHING + 3 * (HIGH - NOTHING)), -0.5);
    expect(logs).toEqual(["INFO Rendered at 32x32, scaled to 480x480."]);
  });

  it.each([
    [160, 90, "854x480"],
    [90, 160, "480x854"],
    [100, 120, "480x480"],
  ])("uses the shape of an input image of %ix%i", async (width, height, size) => {
    const { files, image_url } = await inputImage(width, height, "#808080");
    const { clip } = await run({ image_url, aspect_ratio: "auto" }, { files });
    expect(`${clip.width}x${clip.height}`).toBe(size);
  });

  it("interpolates as fal does, twice the frames at twice the rate, and logs how", async () => {
    const { clip, logs } = await run({
      interpolator_model: "film",
      acceleration: "regular",
      enable_safety_checker: true,
    });
    expect(clip).toMatchObject({ fps: 16 });
    expect(clip.frames).toHaveLength(17);
    expect(logs).toEqual([
      "INFO Rendered at 32x32, scaled to 480x480.",
      'INFO This model has no interpolator "film": the frame between each pair is blended from both. ' +
        "The video has 17 frames at 16 frames per second.",
      "INFO This model has no accelerated form: every step is computed.",
      "INFO This model has no safety checker; nothing was checked.",
    ]);
    expect((await run({ interpolator_model: "rife", num_interpolated_frames: 0 })).clip.frames).toHaveLength(
      9,
    );
  });

  describe("with a safety checker that takes red for unsafe", () => {
    let checking: LoadedModel;
    beforeAll(async () => {
      vi.stubEnv("TEMPERA_SAFETY_CHECKER", RED_IS_UNSAFE);
      checking = await load().finally(() => vi.unstubAllEnvs());
    });
    const flaggedAt = (field: string) => ({
      code: "input_invalid",
      faults: [{ loc: ["body", field], msg: FLAGGED, type: "content_policy_violation" }],
    });

    it("refuses an unsafe image of the caller, and an unsafe frame of the video", async () => {
      const { files, image_url } = await inputImage(64, 64, "#ff0000");
      const red = { image_url };
      for (const [checks, field] of [
        [{ enable_safety_checker: true }, "image_url"],
        [{ enable_output_safety_checker: true }, "prompt"],
      ] as const)
        await expect(run({ ...red, ...checks }, { of: checking, files })).rejects.toMatchObject(
          flaggedAt(field),
        );
      expect((await run(red, { of: checking, files })).clip.frames).toHaveLength(9);
    });

    it("lets others pass, and says what it looked at", async () => {
      const { files, image_url } = await inputImage(64, 64, "#00ff00");
      const checks = { enable_safety_checker: true, enable_output_safety_checker: true };
      const { clip, logs } = await run({ image_url, ...checks }, { of: checking, files });
      expect(clip.frames).toHaveLength(9);
      expect(logs.at(-1)).toBe("INFO The safety checker looks at the caller's image, not at the prompt.");
    });
  });

  it("makes lengths that are not native to the model, and logs that", async () => {
    const { clip, logs } = await run({ num_frames: 30 });
    expect(clip.frames).toHaveLength(30);
    expect(logs[1]).toBe(
      "INFO Rendered 21 frames; the 30 requested ones are blended from them over the same motion.",
    );
  });

  it("uses the second expert below the boundary, with a guidance of its own", async () => {
    const two = join(folder, "two");
    await cp(TINY, two, { recursive: true });
    await cp(join(TINY, "transformer"), join(two, "transformer_2"), { recursive: true });
    const of = await load({ boundary: 0.8 }, two);
    // The last steps decide where the latents end.
    expect((await run({}, { of })).brightness(4)).toBeCloseTo(grey(NOTHING + 6 * (HIGH - NOTHING)), -0.5);
    expect((await run({ guidance_scale_2: 1 }, { of })).brightness(4)).toBeCloseTo(grey(HIGH), -0.5);
    await expect(load({ boundary: 0.8 })).rejects.toThrow(/transformer_2/);
  });

  it("resumes from a checkpoint to the same bytes", async () => {
    const states: RunState[] = [];
    const whole = await run(
      { num_inference_steps: 4 },
      { keep: (state) => states.push(structuredClone(state)) },
    );
    expect(states.map(({ step }) => step)).toEqual([1, 2, 3]);
    const resumed = await run({ num_inference_steps: 4 }, { resume: states[1] as RunState });
    expect(resumed.steps).toEqual(["3/4", "4/4"]);
    expect(resumed.bytes.equals(whole.bytes)).toBe(true);
    const { logs } = await run({}, { resume: { step: 2, values: {}, tensors: [] } });
    expect(logs[0]).toMatch(/^WARN The checkpoint was written by another build/);
  });

  it("gives each video its own bytes when videos share their steps", async () => {
    const alone = [await run(), await run({ seed: 8, prompt: "low" }), await run({ guidance_scale: 1 })];
    const together = await Promise.all([run(), run({ seed: 8, prompt: "low" }), run({ guidance_scale: 1 })]);
    together.forEach(({ bytes }, i) => {
      expect(bytes.equals(alone[i]?.bytes as Buffer)).toBe(true);
    });
  });

  it("previews a frame from the middle of the video", async () => {
    const previews: Buffer[] = [];
    await run({ num_inference_steps: 20 }, { previews });
    expect(previews.length).toBeGreaterThan(0);
    expect(await sharp(previews[0]).metadata()).toMatchObject({ format: "jpeg", width: 32, height: 32 });
  });

  it("stops between two steps", async () => {
    const controller = new AbortController();
    const running = run({ num_inference_steps: 1000 }, { signal: controller.signal });
    setTimeout(() => controller.abort(new Error("cancelled")), 20);
    await expect(running).rejects.toThrow("cancelled");
  });

  it("logs the words that it does not know", async () => {
    const { logs } = await run({ prompt: "high plaid" });
    expect(logs[0]).toBe("WARN This model does not know: plaid.");
  });

  it("names every fault of an input, and of a manifest", async () => {
    await expect(run({ num_frames: 0, frames_per_second: 1e6 })).rejects.toMatchObject({
      code: "input_invalid",
      faults: [{ loc: ["body", "num_frames"] }, { loc: ["body", "frames_per_second"] }],
    });
    await expect(run({ image_url: "https://example.test/a.png" })).rejects.toMatchObject({
      code: "input_invalid",
      faults: [{ loc: ["body", "image_url"], type: "image_load_error" }],
    });
    await expect(load({ threads: 0, patch: "two" })).rejects.toThrow(
      /parameters of model.yaml: threads: .*; patch: /,
    );
  });
});

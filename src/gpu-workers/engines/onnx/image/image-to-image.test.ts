import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import type { JsonObject } from "../../../../core/json/json.ts";
import type { RunState } from "../../../contract/checkpoint.ts";
import type { LoadedModel } from "../runtime/loaded-model.ts";
import { loadImageToImage, loadTextToImage } from "./text-to-image.ts";

const folder = join(import.meta.dirname, "../../../../../models/fal-ai/qwen-image/image-to-image/1.0.0");
const { endpoint, version, runner, parameters } = parse(readFileSync(join(folder, "model.yaml"), "utf8"));

const defaults: JsonObject = {
  prompt: "a large red circle on a blue background",
  image_url: "attachment:0",
  negative_prompt: " ",
  num_inference_steps: 10,
  guidance_scale: 2.5,
  num_images: 1,
  seed: 11,
  strength: 0.6,
  use_turbo: false,
  enable_safety_checker: false,
  output_format: "png",
};

let folderOfImages: string;
let model: LoadedModel;
beforeAll(async () => {
  folderOfImages = await mkdtemp(join(tmpdir(), "tempera-image-"));
  model = await loadImageToImage({ endpoint, version, runner, folder, parameters }, () => {});
});
afterAll(() => rm(folderOfImages, { recursive: true, force: true }));

/** Draws a green square on yellow. */
async function inputImage(width: number, height: number): Promise<string> {
  const path = join(folderOfImages, `${width}x${height}.png`);
  const square = await sharp({
    create: { width: width >> 1, height: height >> 1, channels: 3, background: "#28a546" },
  })
    .png()
    .toBuffer();
  await sharp({ create: { width, height, channels: 3, background: "#f5d732" } })
    .composite([{ input: square }])
    .png()
    .toFile(path);
  return path;
}

interface Options {
  of?: LoadedModel;
  resume?: RunState;
  keep?: (state: RunState) => void;
}

async function run(path: string, change: JsonObject = {}, { of = model, resume, keep }: Options = {}) {
  const logs: string[] = [];
  const steps: string[] = [];
  const files: Buffer[] = [];
  const { output } = await of.run(
    {
      requestId: "request",
      attempt: 1,
      input: { ...defaults, ...change },
      files: [{ path, contentType: "image/png", bytes: 1, sha256: "" }],
      ...(resume && { resume }),
    },
    {
      log: (level, message) => logs.push(`${level} ${message}`),
      progress: (step, total) => steps.push(`${step}/${total}`),
      artifact: async (_file, bytes) => ({ $artifact: files.push(Buffer.from(bytes)) - 1 }),
      ...(keep && { checkpoint: (step, state) => keep({ step, ...state() }) }),
    },
    new AbortController().signal,
  );
  return { output, logs, steps, files };
}

/** Mean difference of two images, 0..255. */
async function difference(one: Buffer | string, other: Buffer | string): Promise<number> {
  const [a, b] = await Promise.all([one, other].map((file) => sharp(file).removeAlpha().raw().toBuffer()));
  if (!a || !b) throw new Error("no images");
  return a.reduce((sum, value, i) => sum + Math.abs(value - (b[i] ?? 0)), 0) / a.length;
}

describe("image-to-image", () => {
  it("returns fal's output, in the size of the input image", async () => {
    const { output, steps, files } = await run(await inputImage(288, 224));
    expect(output).toEqual({
      images: [{ $artifact: 0, width: 288, height: 224 }],
      timings: { inference: expect.any(Number) },
      seed: 11,
      has_nsfw_concepts: [false],
      prompt: defaults.prompt,
    });
    // 0.6 of ten levels.
    expect(steps.at(-1)).toBe("6/6");
    expect(await sharp(files[0]).metadata()).toMatchObject({ width: 288, height: 224, format: "png" });
  });

  it("keeps the image at a strength of 0, and ignores it at 1", async () => {
    const path = await inputImage(288, 224);
    const unchanged = await run(path, { strength: 0 });
    expect(unchanged.steps).toEqual([]);
    expect(await difference(unchanged.files[0] as Buffer, path)).toBeLessThan(8);
    const ignored = await run(path, { strength: 1 });
    expect(ignored.steps.at(-1)).toBe("10/10");
    const textToImage = await loadTextToImage(
      { endpoint, version, runner: "text-to-image", folder, parameters },
      () => {},
    );
    const fromNoise = await run(path, { image_size: { width: 288, height: 224 } }, { of: textToImage });
    expect(ignored.files[0]?.equals(fromNoise.files[0] as Buffer)).toBe(true);
  });

  it("moves further from the input image with a higher strength", async () => {
    const path = await inputImage(256, 256);
    const distances: number[] = [];
    for (const strength of [0, 0.5, 1])
      distances.push(await difference((await run(path, { strength })).files[0] as Buffer, path));
    expect(distances).toEqual([...distances].sort((a, b) => a - b));
    expect(distances[2]).toBeGreaterThan(3 * (distances[0] as number));
  });

  it("makes the requested size, else that of the input image, within bounds", async () => {
    const size = async (path: string, change: JsonObject) =>
      (await run(path, { strength: 0, ...change })).output.images;
    expect(await size(await inputImage(100, 100), { image_size: "landscape_16_9" })).toMatchObject([
      { width: 1024, height: 576 },
    ]);
    expect(await size(await inputImage(100, 100), { image_size: null })).toMatchObject([
      { width: 100, height: 100 },
    ]);
    expect(await size(await inputImage(16, 32), {})).toMatchObject([{ width: 64, height: 128 }]);
    expect(await size(await inputImage(4096, 1024), {})).toMatchObject([{ width: 2048, height: 512 }]);
  });

  it("makes image i exactly as seed + i alone, and resumes from a checkpoint to the same bytes", async () => {
    const path = await inputImage(256, 256);
    const states: RunState[] = [];
    const two = await run(path, { num_images: 2 }, { keep: (state) => states.push(structuredClone(state)) });
    expect(two.files[1]?.equals((await run(path, { seed: 12 })).files[0] as Buffer)).toBe(true);
    const resumed = await run(path, { num_images: 2 }, { resume: states[5] as RunState });
    expect(resumed.files.map((file, i) => file.equals(two.files[i] as Buffer))).toEqual([true, true]);
  });

  it("refuses a file that is not an image before it renders anything", async () => {
    const path = join(folderOfImages, "text");
    await writeFile(path, "not an image");
    await expect(run(path)).rejects.toMatchObject({
      code: "input_invalid",
      faults: [{ loc: ["body", "image_url"], type: "image_load_error" }],
    });
    await expect(run(path, { image_url: "/etc/passwd" })).rejects.toMatchObject({
      faults: [{ type: "image_load_error" }],
    });
    await expect(run(path, { strength: 2 })).rejects.toMatchObject({
      faults: [{ loc: ["body", "strength"] }],
    });
  });
});

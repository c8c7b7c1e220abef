import { readFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { afterEach, describe, expect, it, vi } from "vitest";
import { parse } from "yaml";
import type { JsonObject } from "../../../../core/json/json.ts";
import { openSafetyCheck } from "./safety-check.ts";
import { loadTextToImage } from "./text-to-image.ts";

const NETWORKS = join(import.meta.dirname, "../tiny-models.fixtures");
/** Takes red for unsafe: nothing that is unsafe to a real network can be shipped. */
const RED_IS_UNSAFE = join(NETWORKS, "red-is-unsafe.onnx");

const open = (path: string) => {
  vi.stubEnv("TEMPERA_SAFETY_CHECKER", path);
  return openSafetyCheck({ threads: 1, safetyThreshold: 0.5 });
};
afterEach(() => vi.unstubAllEnvs());

/** An image of one color. */
const plain = (width: number, height: number, color: readonly number[]) =>
  [Uint8Array.from({ length: width * height * 3 }, (_, i) => color[i % 3] ?? 0), { width, height }] as const;

describe("openSafetyCheck", () => {
  it.each([
    [300, 200],
    [224, 224],
    [1, 700],
  ])("scores an image of %ix%i by all of its channels", async (width, height) => {
    const check = await open(RED_IS_UNSAFE);
    expect(await check?.score(...plain(width, height, [255, 0, 0]))).toBeGreaterThan(0.99);
    expect(await check?.score(...plain(width, height, [0, 255, 0]))).toBeLessThan(0.01);
    expect(await check?.score(...plain(width, height, [0, 0, 255]))).toBeLessThan(0.01);
    expect(await check?.isUnsafe(...plain(width, height, [255, 0, 0]))).toBe(true);
    expect(await check?.isUnsafe(...plain(width, height, [128, 128, 128]))).toBe(false);
  });

  it("looks at the middle of an image that is wide or high", async () => {
    const check = await open(RED_IS_UNSAFE);
    const [rgb, size] = plain(512, 256, [0, 255, 0]);
    // A sixteenth at each side is cut off.
    for (let i = 0; i < rgb.length; i += 3) if (Math.floor(i / 3) % 512 < 16) rgb.set([255, 0, 0], i);
    expect(await check?.score(rgb, size)).toBe(await check?.score(...plain(512, 256, [0, 255, 0])));
  });

  it("has none where the operator chose none", async () => {
    expect(await open("")).toBeUndefined();
    expect(await open("off")).toBeUndefined();
  });

  it("refuses a file that is no such network", async () => {
    const none = join(NETWORKS, "none.onnx");
    await expect(open(none)).rejects.toThrow(`TEMPERA_SAFETY_CHECKER: ${none} cannot be loaded`);
    const other = join(NETWORKS, "wan/vae_decoder/model.onnx");
    await expect(open(other)).rejects.toThrow(
      `TEMPERA_SAFETY_CHECKER: ${other} is another kind of network; it should take [n, 224, 224, 3]`,
    );
  });
});

describe("an image model with a safety checker", () => {
  const folder = join(import.meta.dirname, "../../../../../models/fal-ai/qwen-image/1.0.0");
  const manifest = parse(readFileSync(join(folder, "model.yaml"), "utf8"));
  const request: JsonObject = {
    prompt: "a small blue circle on a red background",
    negative_prompt: " ",
    image_size: { width: 256, height: 256 },
    num_inference_steps: 6,
    guidance_scale: 2.5,
    num_images: 2,
    seed: 11,
    use_turbo: false,
    enable_safety_checker: true,
    output_format: "png",
  };

  async function run(change: JsonObject = {}) {
    vi.stubEnv("TEMPERA_SAFETY_CHECKER", RED_IS_UNSAFE);
    const { endpoint, version, runner, parameters } = manifest;
    const model = await loadTextToImage({ endpoint, version, runner, folder, parameters }, () => {});
    const logs: string[] = [];
    const files: Uint8Array[] = [];
    const previews: Uint8Array[] = [];
    const { output } = await model.run(
      { requestId: "request", attempt: 1, input: { ...request, ...change }, files: [] },
      {
        log: (level, message) => logs.push(`${level} ${message}`),
        progress: () => {},
        artifact: async (_, bytes) => ({ $artifact: files.push(bytes as Uint8Array) - 1 }),
        preview: (_step, _type, data) => previews.push(data),
      },
      new AbortController().signal,
    );
    const brightest = (images: Uint8Array[]) =>
      Promise.all(
        images.map(async (image) => {
          const { channels } = await sharp(image).stats();
          return Math.max(...channels.map(({ max }) => max));
        }),
      );
    return { output, logs, files: await brightest(files), previews: await brightest(previews) };
  }

  it("puts black images in place of unsafe ones, also of previews", async () => {
    const { output, logs, files, previews } = await run();
    expect(output.has_nsfw_concepts).toEqual([true, true]);
    expect(files).toEqual([0, 0]);
    expect(previews[0]).toBe(0);
    expect(logs).toEqual(["INFO The safety checker found 2 of 2 images unsafe; such are black."]);
  });

  it("leaves others as they are", async () => {
    const { output, logs, files } = await run({ prompt: "a small red circle on a blue background" });
    expect(output.has_nsfw_concepts).toEqual([false, false]);
    expect(Math.min(...files)).toBeGreaterThan(100);
    expect(logs).toEqual(["INFO The safety checker found 0 of 2 images unsafe; such are black."]);
  });

  it("does not look when the caller wants no check", async () => {
    const { output, logs, files } = await run({ enable_safety_checker: false });
    expect(output.has_nsfw_concepts).toEqual([false, false]);
    expect(Math.min(...files)).toBeGreaterThan(100);
    expect(logs).toEqual([]);
  });
});

import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const QWEN = "fal-ai/qwen-image";
let test: TestPlatform;
beforeAll(async () => {
  test = await startTestPlatform();
});
afterAll(() => test[Symbol.asyncDispose]());

interface ImagesOutput {
  images: {
    url: string;
    width: number;
    height: number;
    content_type: string;
    file_size: number;
    file_name: string;
  }[];
  timings: Record<string, number>;
  seed: number;
  has_nsfw_concepts: boolean[];
  prompt: string;
}

async function render(input: object): Promise<{ output: ImagesOutput; requestId: string }> {
  const { request_id: requestId } = await test.client.submit(QWEN, {
    num_inference_steps: 6,
    prompt: "a large red circle on a blue background",
    ...input,
  });
  for await (const status of test.client.follow(QWEN, requestId)) expect(status.error).toBeUndefined();
  return { output: (await test.client.result(QWEN, requestId)) as ImagesOutput, requestId };
}
const bytesOf = async (url: string): Promise<Buffer> => Buffer.from(await (await fetch(url)).arrayBuffer());

describe("fal-ai/qwen-image", () => {
  it("returns fal's whole output", async () => {
    const { output } = await render({ seed: 3, num_images: 2 });
    expect(output).toMatchObject({
      seed: 3,
      has_nsfw_concepts: [false, false],
      prompt: "a large red circle on a blue background",
    });
    expect(output.images).toHaveLength(2);
    expect(output.timings.inference).toBeGreaterThan(0);
    for (const image of output.images) {
      const bytes = await bytesOf(image.url);
      expect(image).toMatchObject({
        width: 1024,
        height: 768,
        content_type: "image/png",
        file_size: bytes.length,
      });
      expect(await sharp(bytes).metadata()).toMatchObject({ width: 1024, height: 768, format: "png" });
    }
  });

  it("gives the same bytes for the same seed, alone or in a set, and others for another seed", async () => {
    const [one, again, next] = await Promise.all([
      render({ seed: 11, num_images: 2 }),
      render({ seed: 11 }),
      render({ seed: 12 }),
    ]);
    expect(again.output.images[0]?.url).toBe(one.output.images[0]?.url);
    expect(next.output.images[0]?.url).toBe(one.output.images[1]?.url);
    expect(next.output.images[0]?.url).not.toBe(one.output.images[0]?.url);
  });

  it("renders every preset and a custom size, and logs how", async () => {
    const sizes: [unknown, number, number][] = [
      ["square_hd", 1024, 1024],
      ["square", 512, 512],
      ["portrait_4_3", 768, 1024],
      ["portrait_16_9", 576, 1024],
      ["landscape_4_3", 1024, 768],
      ["landscape_16_9", 1024, 576],
      [{ width: 333, height: 777 }, 333, 777],
    ];
    for (const [image_size, width, height] of sizes) {
      const { output, requestId } = await render({ image_size, num_inference_steps: 2 });
      expect(await sharp(await bytesOf(output.images[0]?.url ?? "")).metadata()).toMatchObject({
        width,
        height,
      });
      const { logs } = await test.client.status(QWEN, requestId);
      expect(logs?.map(({ message }) => message).join("\n")).toMatch(/scaled/);
    }
  });

  it("returns a JPEG as a data URI in sync_mode", async () => {
    const { output } = await render({ output_format: "jpeg", sync_mode: true });
    const url = output.images[0]?.url ?? "";
    expect(url).toMatch(/^data:image\/jpeg;base64,/);
    expect(await sharp(Buffer.from(url.split(",")[1] ?? "", "base64")).metadata()).toMatchObject({
      format: "jpeg",
      width: 1024,
    });
  });

  it("stops a running request between two steps", async () => {
    const { request_id: requestId } = await test.client.submit(QWEN, {
      prompt: "x",
      num_inference_steps: 250,
      num_images: 4,
    });
    let steps = 0;
    let cancelled = false;
    for await (const status of test.client.follow(QWEN, requestId)) {
      steps = status.progress?.step ?? steps;
      if (steps >= 2 && !cancelled) {
        cancelled = true;
        await test.client.cancel(QWEN, requestId);
      }
      if (status.status === "COMPLETED") expect(status.error_type).toBe("client_cancelled");
    }
    expect(steps).toBeLessThan(250);
    await render({ num_inference_steps: 2 }); // the engine is free again
  });
});

describe("fal-ai/qwen-image/image-to-image", () => {
  const EDIT = "fal-ai/qwen-image/image-to-image";
  it("starts from an image at a URL of the platform, in its size, with fal's output", async () => {
    const { output: first } = await render({ seed: 3, image_size: { width: 256, height: 256 } });
    const url = first.images[0]?.url ?? "";
    const edit = async (strength: number) => {
      const input = {
        prompt: "a large green square on a yellow background",
        image_url: url,
        strength,
        seed: 5,
      };
      const { request_id: requestId } = await test.client.submit(EDIT, input);
      for await (const status of test.client.follow(EDIT, requestId)) expect(status.error).toBeUndefined();
      const output = (await test.client.result(EDIT, requestId)) as ImagesOutput;
      expect(output).toMatchObject({
        seed: 5,
        has_nsfw_concepts: [false],
        images: [{ width: 256, height: 256, content_type: "image/png" }],
      });
      const pixels = async (imageUrl: string) =>
        sharp(await bytesOf(imageUrl))
          .removeAlpha()
          .raw()
          .toBuffer();
      const [before, after] = [await pixels(url), await pixels(output.images[0]?.url ?? "")];
      return before.reduce((sum, value, i) => sum + Math.abs(value - (after[i] ?? 0)), 0) / before.length;
    };
    expect(await edit(0)).toBeLessThan(8);
    expect(await edit(1)).toBeGreaterThan(30);
  });
});

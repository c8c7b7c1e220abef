import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import sharp from "sharp";
import { beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import type { JsonObject } from "../../../../core/json/json.ts";
import type { RunState } from "../../../contract/checkpoint.ts";
import type { LoadedModel } from "../runtime/loaded-model.ts";
import { loadTextToImage } from "./text-to-image.ts";

const folder = join(import.meta.dirname, "../../../../../models/fal-ai/qwen-image/1.0.0");
const manifest = parse(readFileSync(join(folder, "model.yaml"), "utf8"));
const load = (change: JsonObject = {}) =>
  loadTextToImage(
    {
      endpoint: manifest.endpoint,
      version: manifest.version,
      runner: manifest.runner,
      folder,
      parameters: { ...manifest.parameters, ...change },
    },
    () => {},
  );

const defaults: JsonObject = {
  prompt: "a large red circle on a blue background",
  negative_prompt: " ",
  image_size: { width: 288, height: 224 },
  num_inference_steps: 3,
  guidance_scale: 2.5,
  num_images: 1,
  seed: 11,
  use_turbo: false,
  enable_safety_checker: false,
  output_format: "png",
};

describe("text-to-image", () => {
  let model: LoadedModel;
  beforeAll(async () => {
    model = await load();
  });

  async function run(
    change: JsonObject = {},
    {
      signal = new AbortController().signal,
      resume,
      keep,
    }: { signal?: AbortSignal; resume?: RunState; keep?: (state: RunState) => void } = {},
  ) {
    const logs: string[] = [];
    const steps: string[] = [];
    const leftMs: number[] = [];
    const files: {
      bytes: Uint8Array;
      fileName: string;
      contentType: string;
      width?: number;
      height?: number;
    }[] = [];
    const { output } = await model.run(
      {
        requestId: "request",
        attempt: 1,
        input: { ...defaults, ...change },
        files: [],
        ...(resume && { resume }),
      },
      {
        log: (level, message) => logs.push(`${level} ${message}`),
        progress: (step, total, remainingMs = Number.NaN) => {
          steps.push(`${step}/${total}`);
          leftMs.push(remainingMs);
        },
        ...(keep && { checkpoint: (step, state) => keep(structuredClone({ step, ...state() })) }),
        artifact: async (file, bytes) => ({ $artifact: files.push({ ...file, bytes }) - 1 }),
      },
      signal,
    );
    const digests = files.map(({ bytes }) => createHash("sha256").update(bytes).digest("hex"));
    return { output, logs, steps, leftMs, files, digests };
  }

  it("returns fal's output", async () => {
    const { output, steps, files, logs } = await run();
    expect(output).toEqual({
      images: [{ $artifact: 0, width: 288, height: 224 }],
      timings: { inference: expect.any(Number) },
      seed: 11,
      has_nsfw_concepts: [false],
      prompt: defaults.prompt,
    });
    expect([steps[0], steps.at(-1)]).toEqual(["1/3", "3/3"]);
    expect(files[0]).toMatchObject({ fileName: "11.png", contentType: "image/png", width: 288, height: 224 });
    expect(logs).toEqual([]);
  });

  it("makes the same bytes from the same seed, and others from another", async () => {
    const [one, two, other] = [await run(), await run(), await run({ seed: 12 })];
    expect(one.digests).toEqual(two.digests);
    expect(other.digests).not.toEqual(one.digests);
  });

  it("makes image i of several exactly as seed + i alone", async () => {
    const together = await run({ num_images: 3 });
    const alone = [await run(), await run({ seed: 12 }), await run({ seed: 13 })];
    expect(together.digests).toEqual(alone.flatMap(({ digests }) => digests));
    expect(together.steps.at(-1)).toBe("9/9");
    expect(together.output.has_nsfw_concepts).toEqual([false, false, false]);
  });

  it("makes each image of overlapping requests exactly as alone, at any shape and step", async () => {
    const requests: JsonObject[] = [
      { num_inference_steps: 5 },
      { num_inference_steps: 4, seed: 21, prompt: "three small green squares on a white background" },
      { num_inference_steps: 6, seed: 22, guidance_scale: 1 },
      { num_inference_steps: 3, seed: 23, image_size: { width: 256, height: 256 } },
      { num_inference_steps: 7, seed: 24, num_images: 3 },
      { num_inference_steps: 4, seed: 25, guidance_scale: 7, negative_prompt: "a square" },
    ];
    const alone: string[][] = [];
    for (const request of requests) alone.push((await run(request)).digests);
    const together = await Promise.all(
      requests.map(async (request, i) => {
        await sleep(i * 15);
        return run(request);
      }),
    );
    expect(together.map(({ digests }) => digests)).toEqual(alone);
  });

  it("does not change other requests when one is cancelled in a shared step", async () => {
    const controller = new AbortController();
    const cancelled = run({ num_inference_steps: 1000 }, { signal: controller.signal });
    const other = run({ num_inference_steps: 12 });
    setTimeout(() => controller.abort(new Error("cancelled")), 40);
    await expect(cancelled).rejects.toThrow("cancelled");
    expect((await other).digests).toEqual((await run({ num_inference_steps: 12 })).digests);
  });

  it("resumes from any step, with the same bytes in the end and the rest of the progress", async () => {
    const states: RunState[] = [];
    const whole = await run(
      { num_images: 2, num_inference_steps: 5 },
      { keep: (state) => states.push(state) },
    );
    expect(states.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    for (const resume of states) {
      const rest = await run({ num_images: 2, num_inference_steps: 5 }, { resume: structuredClone(resume) });
      expect(rest.digests).toEqual(whole.digests);
      expect([rest.steps[0], rest.steps.at(-1)]).toEqual([`${resume.step + 1}/10`, "10/10"]);
    }
  });

  it("keeps the drawn seed across a resume", async () => {
    let first: RunState | undefined;
    const whole = await run({ seed: null }, { keep: (state) => (first ??= state) });
    expect((await run({ seed: null }, { ...(first && { resume: first }) })).output.seed).toBe(
      whole.output.seed,
    );
  });

  it("starts from the beginning when another build wrote the checkpoint", async () => {
    const plain = await run();
    for (const resume of [
      { step: 1, values: {}, tensors: [] },
      { step: 1, values: { seed: 11, done: [1] }, tensors: [new Float32Array(3)] },
    ]) {
      const ran = await run({}, { resume });
      expect(ran.digests).toEqual(plain.digests);
      expect(ran.logs[0]).toMatch(/^WARN The checkpoint .* starting from the beginning\.$/);
    }
  });

  it("scales sizes that it was not trained on, and logs that", async () => {
    const { files, logs, output } = await run({
      image_size: "portrait_16_9",
      output_format: "jpeg",
      enable_safety_checker: true,
    });
    expect(await sharp(files[0]?.bytes).metadata()).toMatchObject({
      width: 576,
      height: 1024,
      format: "jpeg",
    });
    expect(output.images).toEqual([{ $artifact: 0, width: 576, height: 1024 }]);
    expect(logs).toEqual([
      "INFO Rendered at 192x352, scaled to 576x1024.",
      "INFO This model has no safety checker; has_nsfw_concepts is always false.",
    ]);
    expect((await run({ image_size: { width: 100 } })).output.images).toEqual([
      { $artifact: 0, width: 100, height: 512 },
    ]);
  });

  it("makes no second row at a guidance of 1 or less, where the negative prompt does not count", async () => {
    const [plain, negative, none] = [
      await run({ guidance_scale: 1 }),
      await run({ guidance_scale: 1, negative_prompt: "red" }),
      await run({ guidance_scale: 0 }),
    ];
    expect(negative.digests).toEqual(plain.digests);
    expect(none.digests).toEqual(plain.digests);
    expect((await run()).digests).not.toEqual(plain.digests);
    expect((await run({ negative_prompt: "a square" })).digests).not.toEqual((await run()).digests);
  });

  it("uses the manifest's steps and guidance for turbo", async () => {
    const turbo = await run({ use_turbo: true, num_inference_steps: 99, guidance_scale: 9 });
    expect(turbo.steps.at(-1)).toBe("10/10");
    expect(turbo.digests).toEqual((await run({ num_inference_steps: 10, guidance_scale: 1.2 })).digests);
    expect(turbo.logs).toEqual(["INFO Turbo: 10 steps, guidance 1.2."]);
  });

  it("reports steps and the time that is left, alone and beside other requests", async () => {
    const ran = [
      await run({ num_inference_steps: 60 }),
      ...(await Promise.all([1, 2].map((seed) => run({ num_inference_steps: 60, seed })))),
    ];
    for (const { steps, leftMs } of ran) {
      expect([steps[0], steps.at(-1)]).toEqual(["1/60", "60/60"]);
      expect(leftMs[0]).toBeGreaterThan(0);
      expect(leftMs.at(-1)).toBe(0);
    }
  });

  it("logs which words it does not know and how many tokens it cut", async () => {
    const { logs } = await run({ prompt: `a plaid circle ${"very ".repeat(40)}` });
    expect(logs[0]).toMatch(
      /^WARN The prompt is longer than the 32 tokens this model reads; the last \d+ were left out\.$/,
    );
    expect(logs[1]).toBe("WARN This model does not know: plaid.");
  });

  it("accepts any integer of 64 bits as a seed and draws one when there is none", async () => {
    for (const seed of [-5, 2 ** 53, 2n ** 53n + 1n, 2n ** 64n - 1n, -(2n ** 63n)])
      expect((await run({ seed })).output.seed).toBe(seed);
    for (const seed of [1e300, 2n ** 64n, -(2n ** 63n) - 1n, 0.5])
      await expect(run({ seed })).rejects.toMatchObject({
        faults: [{ loc: ["body", "seed"], msg: expect.stringContaining("to 18446744073709551615") }],
      });
    expect((await run({ seed: null })).output.seed).toEqual(expect.any(Number));
  });

  it("stops between two steps", async () => {
    const controller = new AbortController();
    const ran: number[] = [];
    const running = run(
      { num_inference_steps: 1000 },
      {
        signal: controller.signal,
        keep: ({ step }) => {
          ran.push(step);
          if (step === 3) controller.abort(new Error("cancelled"));
        },
      },
    );
    await expect(running).rejects.toThrow("cancelled");
    expect(ran).toEqual([1, 2, 3]);
  });

  it("names every fault of an input, and of a manifest", async () => {
    await expect(run({ num_images: 99, image_size: "enormous" })).rejects.toMatchObject({
      code: "input_invalid",
      faults: [{ loc: ["body", "image_size"] }, { loc: ["body", "num_images"] }],
    });
    await expect(load({ threads: 0, patch: "two" })).rejects.toThrow(
      /parameters of model.yaml: threads: .*; patch: /,
    );
  });
});

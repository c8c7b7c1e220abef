import { describe, expect, it } from "vitest";
import { dynamicShift, eulerStep, flowMatchSigmas, parseSchedulerConfig } from "./flow-match-euler.ts";

const config = (fields: object = {}) => parseSchedulerConfig(JSON.stringify(fields));
const close = (actual: Float32Array, expected: number[]) => {
  expect(actual).toHaveLength(expected.length);
  expected.forEach((value, i) => {
    expect(actual[i]).toBeCloseTo(value, 6);
  });
};

describe("flowMatchSigmas", () => {
  it("is linear from 1 with shift 1", () => close(flowMatchSigmas(config(), 4, 64), [1, 0.75, 0.5, 0.25, 0]));

  it("applies a static shift: 3s / (1 + 2s)", () =>
    close(flowMatchSigmas(config({ shift: 3 }), 4, 64), [1, 2.25 / 2.5, 1.5 / 2, 0.75 / 1.5, 0]));

  // Qwen-Image's scheduler_config.json; at 1024² the image is 4096 tokens.
  const qwen = {
    use_dynamic_shifting: true,
    base_shift: 0.5,
    max_shift: 0.9,
    base_image_seq_len: 256,
    max_image_seq_len: 8192,
  };

  it("interpolates μ between the two lengths", () => {
    expect(dynamicShift(config(qwen), 256)).toBeCloseTo(0.5, 12);
    expect(dynamicShift(config(qwen), 8192)).toBeCloseTo(0.9, 12);
    expect(dynamicShift(config(qwen), 4096)).toBeCloseTo(0.6935, 4);
  });

  it("shifts exponentially by μ: e^μ / (e^μ + 1/s − 1)", () => {
    const e = Math.exp(0.5 + (0.4 * 3840) / 7936);
    close(flowMatchSigmas(config(qwen), 2, 4096), [1, e / (e + 1), 0]);
  });

  it("shifts linearly by μ: μ / (μ + 1/s − 1)", () =>
    close(flowMatchSigmas(config({ ...qwen, time_shift_type: "linear" }), 2, 8192), [1, 0.9 / 1.9, 0]));

  it("stretches the last level to shift_terminal and keeps the first at 1", () => {
    // 1 − s = 0, ¼, ½, ¾; scaled by 0.98 / 0.75.
    close(flowMatchSigmas(config({ shift_terminal: 0.02 }), 4, 64), [
      1,
      1 - 0.98 / 3,
      1 - (2 * 0.98) / 3,
      0.02,
      0,
    ]);
    close(flowMatchSigmas(config({ shift_terminal: 0.02 }), 1, 64), [1, 0]);
  });
});

describe("eulerStep", () => {
  it("moves along the velocity by the difference of the levels", () => {
    const x = Float32Array.of(1, -2, 0);
    eulerStep(x, Float32Array.of(4, 2, -1), 0.75, 0.5);
    expect([...x]).toEqual([0, -2.5, 0.25]);
  });
  it("ends at the data when the velocity is noise − data", () => {
    const [noise, data] = [0.8, -0.3];
    const sigmas = flowMatchSigmas(config({ shift: 2 }), 7, 64);
    const x = Float32Array.of(noise);
    for (let i = 0; i < 7; i++)
      eulerStep(x, Float32Array.of(noise - data), sigmas[i] ?? 0, sigmas[i + 1] ?? 0);
    expect(x[0]).toBeCloseTo(data, 6);
  });
});

describe("parseSchedulerConfig", () => {
  it("refuses configurations that it would sample wrongly", () => {
    expect(() => config({ use_karras_sigmas: true })).toThrow("use_karras_sigmas");
    expect(() => config({ _class_name: "UniPCMultistepScheduler" })).toThrow("UniPCMultistepScheduler");
    expect(() => config({ shift: "3" })).toThrow("shift has the wrong type");
    expect(() => config({ time_shift_type: "cubic" })).toThrow("time_shift_type");
  });
});

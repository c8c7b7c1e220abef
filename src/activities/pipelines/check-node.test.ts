import { describe, expect, it } from "vitest";
import { isTemperaError } from "../../core/errors/tempera-error.ts";
import type { ModelVersion } from "../../core/models/model.ts";
import { createCheckNode } from "./check-node.ts";

const model = {
  endpoint: "a/b",
  version: "1.0.0",
  restrictions: [],
  schemas: {
    input: {
      type: "object",
      required: ["prompt"],
      properties: {
        prompt: { type: "string" },
        steps: { type: "integer", default: 4 },
        seed: { type: "integer", minimum: 10, maximum: 1000 },
      },
    },
    output: {},
  },
} as unknown as ModelVersion;
const check = createCheckNode((endpoint, version) =>
  endpoint === "a/b" && version === "1.0.0" ? model : undefined,
);
const job = { requestId: "019a0000-0000-4000-8000-000000000001", endpoint: "a/b", version: "1.0.0" };

describe("the input of a node", () => {
  it("gets its defaults, and a seed that is the same for each attempt and differs between nodes", () => {
    const first = check(job, { prompt: "x" }, () => {});
    expect(first).toMatchObject({ prompt: "x", steps: 4 });
    expect(first.seed).toBeGreaterThanOrEqual(10);
    expect(first.seed).toBeLessThanOrEqual(1000);
    expect(check(job, { prompt: "x" }, () => {})).toEqual(first);
    const seeds = [2, 3, 4, 5].map(
      (n) =>
        check({ ...job, requestId: `019a0000-0000-4000-8000-00000000000${n}` }, { prompt: "x" }, () => {})
          .seed,
    );
    expect(new Set([first.seed, ...seeds]).size).toBeGreaterThan(1);
    expect(check(job, { prompt: "x", seed: 12 }, () => {}).seed).toBe(12);
  });

  it("loses fields that the model does not know, with a warning", () => {
    const warned: string[] = [];
    expect(check(job, { prompt: "x", colour: "red" }, (line) => warned.push(line))).not.toHaveProperty(
      "colour",
    );
    expect(warned).toEqual([expect.stringContaining('"colour"')]);
  });

  it("is refused with its faults", () => {
    try {
      check(job, { steps: 1.5 }, () => {});
      expect.unreachable();
    } catch (error) {
      if (!isTemperaError(error)) throw error;
      expect(error).toMatchObject({
        code: "input_invalid",
        faults: [{ loc: ["body", "prompt"] }, { loc: ["body", "steps"] }],
      });
    }
  });

  it("is refused for a version that this worker does not have", () => {
    expect(() => check({ ...job, version: "2.0.0" }, {}, () => {})).toThrow("This worker has no a/b 2.0.0.");
  });
});

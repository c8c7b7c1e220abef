import { describe, expect, it } from "vitest";
import type { JobSpec } from "../../core/requests/job.ts";
import { codePipeline } from "../../registry/code-pipeline.ts";
import { createCheckOutput } from "./check-output.ts";

const definition = codePipeline({
  id: "t/two-looks",
  version: "1.0.0",
  title: "",
  description: "",
  category: "workflow",
  schemas: {
    input: { type: "object", properties: {} },
    output: {
      type: "object",
      required: ["images"],
      properties: {
        images: { type: "array", items: { type: "object", required: ["url"] } },
        note: { type: "string", default: "none" },
      },
    },
  },
  calls: [],
});
const check = createCheckOutput({
  registry: { pipelines: () => [definition] },
  objects: {
    get: async (key) => {
      if (key === "away") throw new Error("The object store is away.");
      const body = Buffer.from('{"images":7}');
      return { body: [body], bytes: body.length } as never;
    },
  },
});
const job = { endpoint: "t/two-looks", version: "1.0.0", pipeline: {} } as JobSpec;

describe("the output of a pipeline", () => {
  it("that breaks the pipeline's own schema is named with the path of the fault", async () => {
    expect(await check(job, { inline: { images: [{ url: "u" }, {}] } })).toBe(
      "The output of t/two-looks 1.0.0 does not fit its own schema: output.images.1.url: Field required",
    );
    expect(await check(job, { ref: "outcomes/r.json" })).toMatch(/: output\.images: /);
  });

  it("that fits is left as it is, without defaults", async () => {
    const output = { inline: { images: [] } };
    expect(await check(job, output)).toBeUndefined();
    expect(output).toEqual({ inline: { images: [] } });
  });

  it("is not checked where it cannot be read, for models and for other versions", async () => {
    expect(await check(job, { ref: "away" })).toBeUndefined();
    expect(await check({ ...job, version: "0.9.0" }, { inline: {} })).toBeUndefined();
    const { pipeline: _, ...model } = job;
    expect(await check(model, { inline: {} })).toBeUndefined();
  });
});

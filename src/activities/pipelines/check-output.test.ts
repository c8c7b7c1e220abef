import { beforeEach, describe, expect, it } from "vitest";
import type { PipelineVersion } from "../../core/pipelines/pipeline.ts";
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
let warned: [fields: object, message: string][];
beforeEach(() => {
  warned = [];
});
const checkOf = (pipeline: PipelineVersion) =>
  createCheckOutput({
    registry: { pipelines: () => [pipeline] },
    log: { warn: (fields, message) => void warned.push([fields, message]) },
  });
const check = checkOf(definition);
const job = { endpoint: "t/two-looks", version: "1.0.0", pipeline: {} } as JobSpec;

describe("the output of a pipeline", () => {
  it("that breaks the pipeline's own schema is named with the path of the fault", () => {
    expect(check(job, { inline: { images: [{ url: "u" }, {}] } })).toBe(
      "The output of t/two-looks 1.0.0 does not fit its own schema: output.images.1.url: Field required",
    );
  });

  it("that fits is left as it is, without defaults", () => {
    const output = { inline: { images: [] } };
    expect(check(job, output)).toBeUndefined();
    expect(output).toEqual({ inline: { images: [] } });
  });

  it("is not checked in the object store, for models and for other versions", () => {
    expect(check(job, { ref: "outcomes/r.json" })).toBeUndefined();
    expect(check({ ...job, version: "0.9.0" }, { inline: {} })).toBeUndefined();
    const { pipeline: _, ...model } = job;
    expect(check(model, { inline: {} })).toBeUndefined();
    expect(warned).toEqual([]);
  });

  it.each([
    { $ref: "#/$defs/Missing" },
    { type: "object", properties: { images: { type: "string", pattern: "(" } } },
  ])("is not checked, with a line in the log, when the schema cannot be compiled: %j", (output) => {
    const broken = checkOf({ ...definition, schemas: { ...definition.schemas, output } });
    expect(broken(job, { inline: { images: [] } })).toBeUndefined();
    expect(warned).toEqual([
      [
        { endpoint: "t/two-looks", version: "1.0.0", err: expect.any(Error) },
        "the output of a pipeline was not checked",
      ],
    ]);
  });
});

import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import type { ModelVersion } from "../../core/models/model.ts";
import { createOnnxRunner } from "../../gpu-workers/engines/onnx/onnx-runner.ts";
import { createStubRunner } from "../../gpu-workers/engines/stub/stub-runner.ts";
import { ENGINE_PROGRAMS } from "../../gpu-workers/worker/process/engine-programs.ts";
import { loadRegistry } from "../registry.ts";
import { reviewModel } from "./review-model.ts";

const PROJECT = resolve(import.meta.dirname, "../../..");
const ENGINES = { onnx: ["text-to-image", "wan_video"], stub: ["stub"] };
const model = (over: object): ModelVersion =>
  ({
    engine: "onnx",
    runner: "text-to-image",
    restrictions: [],
    schemas: { input: { type: "object", properties: {} }, output: { type: "object" } },
    ...over,
  }) as unknown as ModelVersion;
const input = (properties: object) => ({ input: { type: "object", properties }, output: { type: "object" } });

describe("the review of a model", () => {
  it.each<[string, object, string]>([
    ["an engine", { engine: "onx" }, 'model.yaml: /engine "onx" is no engine; did you mean "onnx"?'],
    [
      "an engine like none",
      { engine: "triton" },
      'model.yaml: /engine "triton" is no engine (onnx, stub); ' +
        "name its program in engines.programs of the configuration",
    ],
    [
      "a runner",
      { runner: "text_to_image" },
      'model.yaml: /runner "text_to_image" is no runner of the engine onnx; did you mean "text-to-image"?',
    ],
    [
      "a word of a restriction",
      { restrictions: [{ field: "a", accepts: { konst: "x" }, message: "x" }] },
      "model.yaml: /restrictions/a/accepts/konst is not a word of JSON Schema, and nothing reads it; " +
        'did you mean "const"?',
    ],
    [
      "a word of a schema, however deep",
      { schemas: input({ a: { anyOf: [{ type: "array", items: { patern: "x" } }] } }) },
      "input.json: /properties/a/anyOf/0/items/patern is not a word of JSON Schema, and nothing reads it; " +
        'did you mean "pattern"?',
    ],
    [
      "a word like none",
      { schemas: input({ a: { pach: "x" } }) },
      "input.json: /properties/a/pach is not a word of JSON Schema, and nothing reads it; " +
        "a word of your own begins with x-",
    ],
    [
      "a default that a restriction refuses",
      {
        schemas: input({ a: { type: "string", default: "fast" } }),
        restrictions: [{ field: "a", accepts: { const: "slow" }, message: "x" }],
      },
      'model.yaml: /restrictions/a refuses "fast", which is the field\'s default in input.json',
    ],
    [
      "a default that its field refuses",
      { schemas: input({ a: { type: "integer", default: "4" } }) },
      "input.json: /properties/a/default does not fit its field: Input should be a valid integer",
    ],
  ])("names %s", (_, over, fault) => expect(reviewModel(model(over), ENGINES)).toEqual([fault]));

  it("takes fields of any name, and words of one's own", () =>
    expect(
      reviewModel(model({ schemas: input({ konst: { "x-mine": 1, enum: [{ patern: 1 }] } }) }), ENGINES),
    ).toEqual([]));
});

const runnersOf = Object.fromEntries(
  Object.entries(ENGINE_PROGRAMS).map(([name, { runners = [] }]) => [name, runners]),
);

it("finds nothing in the models that ship", async () => {
  const registry = await loadRegistry({
    modelsFolder: join(PROJECT, "models"),
    schemasFolder: join(PROJECT, "schemas"),
  });
  expect(registry.list().flatMap((each) => reviewModel(each, runnersOf))).toEqual([]);
});

it("the table of engine programs has the runners that the engines have", () => {
  const diffusers = readFileSync(join(PROJECT, "engines/python/tempera_diffusers/engine.py"), "utf8");
  expect(runnersOf).toEqual({
    onnx: createOnnxRunner().describe().runners,
    stub: createStubRunner().describe().runners,
    diffusers: JSON.parse(/runners=(\[[^\]]*\])/.exec(diffusers)?.[1] ?? ""),
  });
});

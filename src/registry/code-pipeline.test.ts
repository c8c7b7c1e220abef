import { expect, it } from "vitest";
import { codePipeline } from "./code-pipeline.ts";

const EMPTY = { type: "object", properties: {} };
const pipeline = (schemas: { input: object; output: object }) => ({
  id: "t/p",
  version: "1.0.0",
  title: "",
  description: "",
  category: "workflow",
  schemas: schemas as Parameters<typeof codePipeline>[0]["schemas"],
  calls: [],
});

it.each([
  ["output", { $ref: "#/$defs/Missing" }, /Missing/],
  ["output", { type: "object", properties: { note: { type: "string", pattern: "(" } } }, /\(/],
  ["input", { type: "object", properties: { of: { $ref: "#/$defs/Missing" } } }, /Missing/],
])("refuses a pipeline whose %s schema cannot be compiled: %j", (side, schema, reason) => {
  const make = () => codePipeline(pipeline({ input: EMPTY, output: EMPTY, [side]: schema }));
  expect(make).toThrow(`The ${side} schema of the pipeline t/p 1.0.0 cannot be compiled`);
  expect(make).toThrow(reason);
});

it("takes a pipeline whose schemas can be compiled", () =>
  expect(codePipeline(pipeline({ input: EMPTY, output: EMPTY }))).toMatchObject({ endpoint: "t/p" }));

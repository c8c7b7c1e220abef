import { describe, expect, it } from "vitest";
import { parseJson } from "../../core/json/exact-json.ts";
import type { JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import { schemaWeight, weightFault } from "./schema-weight.ts";

/** An object with fields of one schema. */
const fields = (count: number, field: JsonObject): JsonObject => ({
  type: "object",
  properties: Object.fromEntries(Array.from({ length: count }, (_, at) => [`f${at}`, field])),
});
const strings = (count: number): string[] => Array.from({ length: count }, (_, at) => `voice ${at}`);
const weightOf = (field: JsonObject): number => schemaWeight(fields(1, field)) - schemaWeight(fields(1, {}));

describe("the weight of a schema", () => {
  it.each<[string, JsonObject]>([
    ["titles and examples", { title: "Voice", description: "long", default: "a", examples: strings(9) }],
    ["words of one's own", { "x-fal-order-properties": strings(50), "x-note": "kept" }],
    ["the entries of an enum", { enum: strings(4_000) }],
  ])("does not count %s", (_, field) => {
    expect(weightOf(field)).toBe(0);
  });

  it.each<[string, JsonObject, number]>([
    ["bounds", { type: "integer", minimum: 1, maximum: 9 }, 3],
    ["required names", { required: strings(199) }, 199],
    ["fields within fields", { properties: { a: { type: "string" } } }, 3],
    ["a large number once", parseJson<JsonObject>('{"maximum":18446744073709551615}'), 1],
    ["a schema that is named like a word", { properties: { enum: { type: "string" } } }, 3],
    ["a pattern by its length", { pattern: "^[a-z]+$" }, 8],
    ["a pattern by its repetitions, which are written out", { pattern: "^(?:[a-z]{30}){30}$" }, 183],
    ["the patterns of names", { patternProperties: { "^[a-z]{100}$": {} } }, 23],
  ])("counts %s", (_, field, weight) => {
    expect(weightOf(field)).toBe(weight);
  });

  it("counts what a branch of a union refers to once for each branch: each is compiled by itself", () => {
    const size = fields(10, { type: "integer" });
    const branch = { $ref: "#/$defs/Size" };
    const union = (branches: number): number =>
      schemaWeight({ ...fields(1, { anyOf: Array(branches).fill(branch) }), $defs: { Size: size } });
    expect(union(3) - union(2)).toBe(schemaWeight(size) + schemaWeight(branch));
  });

  it("ends for schemas that refer to themselves", () => {
    const tree = { anyOf: [{ type: "array", items: { $ref: "#/$defs/Tree" } }, { $ref: "#" }] };
    expect(schemaWeight({ ...fields(1, tree), $defs: { Tree: tree } })).toBeGreaterThan(10);
  });
});

describe("the fault of a version", () => {
  const version = (input: JsonObject, accepts: JsonObject[] = []) => ({
    schemas: { input, output: {} },
    restrictions: accepts.map((each, at) => ({ field: `f${at}`, accepts: each, message: "No." })),
  });
  const half = fields(LIMITS.schemaWeightMax / 4, { type: "string" });

  it("counts its restrictions in", () => {
    expect(weightFault(version(half))).toBeUndefined();
    expect(weightFault(version(half, [{ enum: strings(400) }]))).toBeUndefined();
    expect(weightFault(version(half, [half]))).toMatch(/more than 1000; give it fewer/);
  });
});

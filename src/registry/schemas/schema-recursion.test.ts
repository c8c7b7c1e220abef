import { describe, expect, it } from "vitest";
import type { JsonObject } from "../../core/json/json.ts";
import { findBranchingRecursion } from "./schema-recursion.ts";

const TREE = { $ref: "#/$defs/Tree" };
const withTree = (tree: JsonObject): JsonObject => ({
  type: "object",
  properties: { tree: TREE, prompt: { type: "string" } },
  $defs: { Tree: tree },
});
const object = (properties: JsonObject): JsonObject => ({ type: "object", properties });

describe("a schema that contains itself", () => {
  it.each<[string, JsonObject]>([
    ["as a list of children", object({ children: { type: "array", items: TREE } })],
    ["as an optional child", { anyOf: [object({ child: TREE }), { type: "null" }] }],
    ["in several fields", object({ left: TREE, right: TREE })],
    ["in fields that are named like keywords", object({ if: TREE, else: TREE, not: TREE, allOf: TREE })],
    ["in branches of unlike types", { anyOf: [object({ a: TREE }), { type: "array", items: TREE }] }],
    ["in branches that refer to unlike types", { oneOf: [{ $ref: "#/$defs/Tree/not" }], not: object({}) }],
    [
      "as any JSON",
      {
        anyOf: [
          { type: "object", additionalProperties: TREE },
          { type: "array", items: TREE },
        ],
      },
    ],
  ])("once is accepted: %s", (_, tree) => expect(findBranchingRecursion(withTree(tree))).toBeUndefined());

  it.each<[string, JsonObject]>([
    ["in two branches", { anyOf: [object({ c: TREE, a: {} }), object({ c: TREE, b: {} })] }],
    [
      "in two branches by reference",
      { oneOf: [{ $ref: "#/$defs/Tree/x/a" }, object({ b: TREE })], x: { a: object({ a: TREE }) } },
    ],
    ["in all of several", { allOf: [{ properties: { c: TREE } }], properties: { c: TREE } }],
    ["by a name and its pattern", { properties: { c: TREE }, patternProperties: { c: TREE } }],
    ["in a condition and its outcome", { if: object({ c: TREE }), else: object({ c: TREE }) }],
    ["in items that it also has to contain", { type: "array", items: TREE, contains: TREE }],
    ["in branches of branches", { anyOf: [{ anyOf: [object({ c: TREE }), object({ d: TREE })] }] }],
  ])("in several ways is found: %s", (_, tree) =>
    expect(findBranchingRecursion(withTree(tree))).toMatch(/^\$defs\/Tree/),
  );

  it("is found at the root too", () => {
    const child = object({ child: { $ref: "#" } });
    expect(findBranchingRecursion({ type: "object", oneOf: [child, child] })).toBe("the schema");
  });

  it("is looked for in the largest schemas in little time", () => {
    const many = Object.fromEntries(
      Array.from({ length: 400 }, (_, at) => [`f${at}`, { anyOf: [TREE, {}] }]),
    );
    expect(findBranchingRecursion(withTree(object(many)))).toBeUndefined();
  });
});

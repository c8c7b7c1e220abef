import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { JsonObject } from "../../core/json/json.ts";
import { type Contract, schemaBreaks } from "./schema-breaks.ts";

const contract = ({
  input = {},
  required = [],
  output = {},
  outputRequired = [],
  restrictions = [],
}: {
  input?: JsonObject;
  required?: string[];
  output?: JsonObject;
  outputRequired?: string[];
  restrictions?: Contract["restrictions"];
}): Contract => ({
  schemas: {
    input: { type: "object", properties: input, required },
    output: { type: "object", properties: output, required: outputRequired },
  },
  restrictions,
});

describe("schemaBreaks: inputs", () => {
  const breaks = (
    before: JsonObject,
    after: JsonObject,
    required: { before?: string[]; after?: string[] } = {},
  ): string[] =>
    schemaBreaks(
      contract({ input: before, required: required.before ?? [] }),
      contract({ input: after, required: required.after ?? [] }),
    );
  const TEXT = { type: "string" };

  it.each<[string, JsonObject, JsonObject, string[]]>([
    ["a removed field", { a: TEXT, b: TEXT }, { a: TEXT }, ["input.b: was removed"]],
    ["a new optional field", { a: TEXT }, { a: TEXT, b: TEXT }, []],
    ["another type", { a: TEXT }, { a: { type: "integer" } }, ["input.a: takes integer only, not string"]],
    [
      "one type of two",
      { a: { type: ["string", "null"] } },
      { a: TEXT },
      ["input.a: takes string only, not string or null"],
    ],
    ["one type more", { a: TEXT }, { a: { type: ["string", "null"] } }, []],
    ["an integer where a number goes", { a: { type: "integer" } }, { a: { type: "number" } }, []],
    [
      "a shorter text",
      { a: { type: "string", maxLength: 9 } },
      { a: { type: "string", maxLength: 5 } },
      ["input.a: maxLength 9 became 5"],
    ],
    [
      "a bound where there was none",
      { a: { type: "integer" } },
      { a: { type: "integer", minimum: 1 } },
      ["input.a: minimum unbounded became 1"],
    ],
    ["a wider bound", { a: { type: "integer", maximum: 4 } }, { a: { type: "integer", maximum: 8 } }, []],
    [
      "a removed value",
      { a: { enum: ["x", "y"] } },
      { a: { enum: ["x"] } },
      ['input.a: "y" is no longer accepted'],
    ],
    ["a value more", { a: { enum: ["x"] } }, { a: { enum: ["x", "y"] } }, []],
    [
      "values where any text went",
      { a: TEXT },
      { a: { type: "string", enum: ["x"] } },
      ['input.a: takes "x" only'],
    ],
    [
      "another pattern",
      { a: { ...TEXT, pattern: "a" } },
      { a: { ...TEXT, pattern: "b" } },
      ["input.a: pattern has changed"],
    ],
    ["a removed pattern", { a: { ...TEXT, pattern: "a" } }, { a: TEXT }, []],
    [
      "words for people",
      { a: { ...TEXT, title: "A" } },
      { a: { ...TEXT, title: "B", examples: ["x"], "x-fal": 1 } },
      [],
    ],
    [
      "a removed branch",
      { a: { anyOf: [TEXT, { type: "null" }] } },
      { a: TEXT },
      ["input.a: takes string only, not null"],
    ],
    ["a branch more", { a: TEXT }, { a: { anyOf: [TEXT, { type: "null" }] } }, []],
    [
      "within a list",
      { a: { type: "array", items: { maximum: 9 } } },
      { a: { type: "array", items: { maximum: 5 } } },
      ["input.a[]: maximum 9 became 5"],
    ],
    [
      "deeper",
      { a: { type: "object", properties: { b: TEXT } } },
      { a: { type: "object", properties: { b: TEXT, c: TEXT }, required: ["c"] } },
      ["input.a.c: is required now"],
    ],
  ])("%s", (_, before, after, found) => expect(breaks(before, after)).toEqual(found));

  it("a new required field, unless a default fills it in", () => {
    expect(breaks({ a: TEXT }, { a: TEXT, b: TEXT }, { after: ["b"] })).toEqual(["input.b: is required now"]);
    expect(breaks({ a: TEXT }, { a: TEXT, b: { ...TEXT, default: "x" } }, { after: ["b"] })).toEqual([]);
    expect(breaks({ a: TEXT }, { a: TEXT }, { after: ["a"] })).toEqual(["input.a: is required now"]);
  });

  it("follows references, also when only their target is narrower", () => {
    const withSize = (maximum: number): Contract => ({
      schemas: {
        input: {
          type: "object",
          properties: {
            size: { $ref: "#/$defs/Size" },
            list: { type: "array", items: { allOf: [{ $ref: "#/$defs/Size" }] } },
          },
          $defs: { Size: { type: "integer", maximum } },
        },
        output: { type: "object" },
      },
      restrictions: [],
    });
    expect(schemaBreaks(withSize(9), withSize(5))).toEqual([
      "input.size: maximum 9 became 5",
      "input.list[]: maximum 9 became 5",
    ]);
    expect(schemaBreaks(withSize(5), withSize(9))).toEqual([]);
  });

  it("ends for a schema that refers to itself", () => {
    const tree = (maximum: number): Contract => ({
      schemas: {
        input: {
          type: "object",
          properties: { root: { $ref: "#/$defs/Node" } },
          $defs: {
            Node: {
              type: "object",
              properties: { next: { $ref: "#/$defs/Node" }, value: { type: "integer", maximum } },
            },
          },
        },
        output: { type: "object" },
      },
      restrictions: [],
    });
    expect(schemaBreaks(tree(5), tree(5))).toEqual([]);
    expect(schemaBreaks(tree(9), tree(5))[0]).toMatch(/value: maximum 9 became 5$/);
  });

  it("a change within unions that refer to themselves, whatever the number of their combinations", () => {
    const values = (maximum: number): Contract => {
      const lists = Array.from({ length: 4 }, (_, at) => ({
        type: "array",
        maxItems: 10 + at,
        items: { $ref: "#/$defs/Value" },
      }));
      const Value = { anyOf: [{ type: "integer", maximum }, ...lists] };
      const input = { type: "object", properties: { value: { $ref: "#/$defs/Value" } }, $defs: { Value } };
      return { schemas: { input, output: { type: "object" } }, restrictions: [] };
    };
    expect(schemaBreaks(values(5), values(5))).toEqual([]);
    expect(schemaBreaks(values(4), values(5))).toEqual([]);
    expect(schemaBreaks(values(5), values(4))).toEqual(["input.value: maximum 5 became 4"]);
  });

  it("unions of more branches than can be compared with one another", () => {
    const names = (length: number): JsonObject[] =>
      Array.from({ length }, (_, at) => ({ type: "object", properties: { [`f${at}`]: { const: at } } }));
    const input = (branches: JsonObject[]) => contract({ input: { a: { anyOf: branches } } });
    expect(schemaBreaks(input(names(250)), input(names(250).slice(1))).at(-1)).toBe(
      "input: has unions of too many branches to be compared with those of the version before",
    );
    expect(schemaBreaks(input(names(50).slice(1)), input(names(50)))).toEqual([]);
  });

  it("a new restriction of an existing field", () => {
    const restriction = { field: "a", accepts: { maximum: 5 }, message: "5 at most" };
    const [before, after] = [
      contract({ input: { a: TEXT } }),
      contract({ input: { a: TEXT }, restrictions: [restriction] }),
    ];
    expect(schemaBreaks(before, after)).toEqual(["input.a: has new restrictions"]);
    expect(schemaBreaks(after, after)).toEqual([]);
  });
});

describe("schemaBreaks: outputs", () => {
  const TEXT = { type: "string" };
  it.each<[string, Contract, Contract, string[]]>([
    ["a removed field", contract({ output: { a: TEXT } }), contract({}), ["output.a: was removed"]],
    ["a field more", contract({ output: { a: TEXT } }), contract({ output: { a: TEXT, b: TEXT } }), []],
    [
      "a field that may be absent",
      contract({ output: { a: TEXT }, outputRequired: ["a"] }),
      contract({ output: { a: TEXT } }),
      ["output.a: may be absent now"],
    ],
    [
      "another type",
      contract({ output: { a: TEXT } }),
      contract({ output: { a: { type: ["string", "null"] } } }),
      ["output.a: may be string or null now, not string only"],
    ],
    [
      "a narrower bound",
      contract({ output: { a: { maximum: 9 } } }),
      contract({ output: { a: { maximum: 5 } } }),
      [],
    ],
    [
      "a wider bound",
      contract({ output: { a: { maximum: 5 } } }),
      contract({ output: { a: { maximum: 9 } } }),
      ["output.a: maximum 5 became 9"],
    ],
  ])("%s", (_, before, after, found) => expect(schemaBreaks(before, after)).toEqual(found));
});

it("finds no break between a schema of this project and itself", () => {
  const folder = new URL("../../../schemas/models", import.meta.url).pathname;
  const paths = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((path) =>
    path.endsWith("input.json"),
  );
  expect(paths.length).toBeGreaterThan(3);
  for (const path of paths) {
    const schemaOf = (name: string) =>
      JSON.parse(
        readFileSync(join(folder, path.replace("input.json", `${name}.json`)), "utf8"),
      ) as JsonObject;
    const contract = { schemas: { input: schemaOf("input"), output: schemaOf("output") }, restrictions: [] };
    expect(schemaBreaks(contract, contract), path).toEqual([]);
  }
});

import { describe, expect, it, vi } from "vitest";
import { parseJson } from "../core/json/exact-json.ts";
import type { JsonObject } from "../core/json/json.ts";
import { LIMITS } from "../core/limits.ts";
import { createSchemaCheck } from "./schema-check.ts";

/** The faults of `value` as the only field, `x`, of an object. */
const faultsOf = (field: JsonObject, value: unknown, schema: JsonObject = {}) =>
  createSchemaCheck({ type: "object", properties: { x: field }, ...schema }, { every: true })({ x: value });

describe("faults as pydantic words them", () => {
  it.each<[string, JsonObject, unknown, object]>([
    ["string", { type: "string" }, 5, { type: "string_type", msg: "Input should be a valid string" }],
    ["integer", { type: "integer" }, "5", { type: "int_type", msg: "Input should be a valid integer" }],
    ["integer, fraction", { type: "integer" }, 5.5, { type: "int_from_float" }],
    ["integer, 1e999", { type: "integer" }, Number.POSITIVE_INFINITY, { type: "int_type" }],
    ["number", { type: "number" }, true, { type: "float_type" }],
    ["number, 1e999", { type: "number" }, Number.POSITIVE_INFINITY, { type: "float_type" }],
    ["boolean", { type: "boolean" }, 1, { type: "bool_type" }],
    ["array", { type: "array" }, {}, { type: "list_type" }],
    ["object", { type: "object" }, [], { type: "dict_type" }],
    ["null", { type: "null" }, 0, { type: "none_required" }],
    ["optional integer", { type: ["integer", "null"] }, "x", { type: "int_type" }],
    [
      "minimum",
      { minimum: 1 },
      0,
      { type: "greater_than_equal", msg: "Input should be greater than or equal to 1", ctx: { ge: 1 } },
    ],
    ["maximum", { maximum: 1 }, 2, { type: "less_than_equal", ctx: { le: 1 } }],
    ["exclusive minimum", { exclusiveMinimum: 0 }, 0, { type: "greater_than", ctx: { gt: 0 } }],
    ["exclusive maximum", { exclusiveMaximum: 1 }, 1, { type: "less_than", ctx: { lt: 1 } }],
    ["multiple", { multipleOf: 8 }, 9, { type: "multiple_of", ctx: { multiple_of: 8 } }],
    [
      "short text",
      { minLength: 2 },
      "a",
      { type: "sequence_too_short", msg: "Input should have at least 2 characters", ctx: { min_length: 2 } },
    ],
    [
      "short list",
      { minItems: 1 },
      [],
      { type: "sequence_too_short", msg: "Input should have at least 1 items" },
    ],
    ["long text", { maxLength: 1 }, "😀a", { type: "sequence_too_long", ctx: { max_length: 1 } }],
    ["long list", { maxItems: 0 }, [1], { type: "sequence_too_long" }],
    [
      "enum",
      { enum: ["a", "b"] },
      "c",
      { type: "one_of", msg: "Input should be 'a', 'b'", ctx: { expected: ["a", "b"] } },
    ],
    ["const", { const: "a" }, "b", { type: "one_of", ctx: { expected: ["a"] } }],
    [
      "format",
      { type: "string", format: "uri" },
      "no uri",
      { type: "value_error", msg: "Input should be a valid uri" },
    ],
    ["pattern", { pattern: "^a+$" }, "b", { type: "string_pattern_mismatch", ctx: { pattern: "^a+$" } }],
    ["repeated items", { uniqueItems: true }, [1, 1], { type: "value_error" }],
  ])("%s", (_name, field, value, expected) =>
    expect(faultsOf(field, value)).toMatchObject([{ loc: ["body", "x"], ...expected }]),
  );

  it("locates a missing field and one too many by their names", () => {
    const field = { type: "object", required: ["a"], properties: { a: {} }, additionalProperties: false };
    expect(faultsOf(field, { b: 1 })).toEqual([
      { loc: ["body", "x", "a"], msg: "Field required", type: "missing" },
      { loc: ["body", "x", "b"], msg: "Extra inputs are not permitted", type: "extra_forbidden" },
    ]);
  });

  it("reports the faults of a condition once", () => {
    const schema = JSON.parse(
      '{"if": {"properties": {"x": {"const": "a"}}}, "then": {"required": ["y"]}}',
    ) as JsonObject;
    expect(faultsOf({}, "a", schema)).toEqual([
      { loc: ["body", "y"], msg: "Field required", type: "missing" },
    ]);
  });

  it("locates items by number and fields by name, also names that look like numbers or have slashes", () => {
    expect(faultsOf({ type: "array", items: { type: "string" } }, ["a", 1])).toMatchObject([
      { loc: ["body", "x", 1] },
    ]);
    const named = { type: "object", additionalProperties: { type: "string" } };
    expect(faultsOf(named, { "1": 1, "a/b~c": 1 })).toMatchObject([
      { loc: ["body", "x", "1"] },
      { loc: ["body", "x", "a/b~c"] },
    ]);
  });

  it("ignores an unknown format, and prints nothing", () =>
    expect(faultsOf({ format: "binary" }, "x")).toBeUndefined());
});

describe("unions", () => {
  const size = {
    type: "object",
    required: ["width", "height"],
    properties: { width: { type: "integer", maximum: 100 }, height: { type: "integer", maximum: 100 } },
  };
  const sizeOrName = { anyOf: [{ $ref: "#/$defs/Size" }, { type: "string", enum: ["square", "wide"] }] };
  const faults = (value: unknown, field: JsonObject = sizeOrName) =>
    faultsOf(field, value, { $defs: { Size: size } });

  it("accept either form", () => {
    expect(faults("square")).toBeUndefined();
    expect(faults({ width: 1, height: 100 })).toBeUndefined();
  });

  it("report all faults of the branch whose type fits", () => {
    expect(faults("huge")).toMatchObject([{ loc: ["body", "x"], type: "one_of" }]);
    expect(faults({ width: 101, height: "a" })).toMatchObject([
      { loc: ["body", "x", "width"], type: "less_than_equal" },
      { loc: ["body", "x", "height"], type: "int_type" },
    ]);
    expect(faults({ width: 1 })).toMatchObject([{ loc: ["body", "x", "height"], type: "missing" }]);
  });

  it("name the accepted forms when no branch fits", () =>
    expect(faultsOf({ anyOf: [{ type: "string" }, { type: "object" }] }, 5)).toEqual([
      {
        loc: ["body", "x"],
        msg: "Input should be a valid string or a valid dictionary",
        type: "value_error",
      },
    ]));

  it("with null report the other branch, like pydantic's Optional", () =>
    expect(faultsOf({ anyOf: [{ type: "integer", minimum: 3 }, { type: "null" }] }, "x")).toMatchObject([
      { loc: ["body", "x"], type: "int_type" },
    ]));

  it("in a list report the faulty item", () => {
    const list = { type: "array", items: sizeOrName };
    expect(faults(["square", "huge", { width: 1, height: 1 }, { width: 1 }], list)).toMatchObject([
      { loc: ["body", "x", 1], type: "one_of" },
      { loc: ["body", "x", 3, "height"], type: "missing" },
    ]);
  });

  it("inside unions report the innermost", () => {
    const nested = { anyOf: [{ type: "object", properties: { size: sizeOrName } }, { type: "null" }] };
    expect(faults({ size: { width: 1, height: 1000 } }, nested)).toMatchObject([
      { loc: ["body", "x", "size", "height"], type: "less_than_equal" },
    ]);
  });

  it("refuse a value that fits two forms when exactly one is allowed", () =>
    expect(faultsOf({ oneOf: [{ type: "integer" }, { type: "number" }] }, 5)).toMatchObject([
      { loc: ["body", "x"], type: "value_error" },
    ]));

  it("report the faults of a branch that has an address of its own", () => {
    const item = { $id: "urn:acme:item", type: "integer", minimum: 1 };
    const list = { $id: "urn:acme:list", type: "array", items: { anyOf: [item, { type: "null" }] } };
    expect(faultsOf({ anyOf: [list, { type: "null" }] }, [0])).toMatchObject([
      { loc: ["body", "x", 0], type: "greater_than_equal" },
    ]);
  });

  it("do not hide the faults of other fields", () => {
    const schema: JsonObject = {
      type: "object",
      required: ["y"],
      properties: { x: { anyOf: [{ type: "string" }, { type: "null" }] }, xy: { type: "string" } },
    };
    expect(
      createSchemaCheck(schema, { every: true })({ x: 5, xy: 5 })?.map(({ loc }) => loc.join(".")),
    ).toEqual(["body.y", "body.xy", "body.x"]);
  });
});

describe("large integers", () => {
  const SEED = { type: "integer", minimum: 0, maximum: 2n ** 64n - 1n };

  it.each<[string, JsonObject, unknown]>([
    ["an unbounded integer", { type: "integer" }, 2n ** 64n],
    ["an optional one", { anyOf: [{ type: "integer" }, { type: "null" }] }, -(2n ** 63n)],
    ["one that may be null", { type: ["integer", "null"] }, 2n ** 53n + 1n],
    ["one by another keyword", { type: "integer", nullable: true }, null],
    ["a number", { type: "number" }, 2n ** 53n + 1n],
    ["a seed at its bound", SEED, 2n ** 64n - 1n],
    ["a small seed with a large bound", SEED, 7],
    ["a double at a bound of integers", { exclusiveMaximum: 2n ** 64n + 1n }, 2 ** 64],
    ["a multiple", { multipleOf: 3 }, 3n * 2n ** 64n],
    ["a multiple of a fraction", { multipleOf: 0.5 }, 2n ** 64n],
    ["a listed one", { enum: [1, 2n ** 53n + 1n] }, 2n ** 53n + 1n],
    ["a listed double", { enum: [1e20] }, 10n ** 20n],
    ["a fixed one, within a list", { const: [2n ** 64n] }, [2n ** 64n]],
    ["64 bits", { type: "integer", format: "int64" }, 2n ** 63n - 1n],
    ["a field named type", { properties: { type: { type: "integer" } } }, { type: 2n ** 64n }],
    ["anything", {}, { a: [2n ** 64n] }],
  ])("are taken: %s", (_, field, value) => expect(faultsOf(field, value)).toBeUndefined());

  it.each<[string, JsonObject, unknown, object]>([
    ["above a small bound", { maximum: 10 }, 2n ** 64n, { type: "less_than_equal", ctx: { le: 10 } }],
    ["one above its bound", SEED, 2n ** 64n, { type: "less_than_equal", ctx: { le: 2n ** 64n - 1n } }],
    ["a double above it", SEED, 2 ** 64, { type: "less_than_equal" }],
    ["below a large bound", { minimum: -(2n ** 63n) }, -(2n ** 63n) - 1n, { type: "greater_than_equal" }],
    ["at an exclusive bound", { exclusiveMaximum: 2n ** 53n + 1n }, 2n ** 53n + 1n, { type: "less_than" }],
    ["text", { type: "string" }, 2n ** 64n, { type: "string_type" }],
    ["a boolean", { type: "boolean" }, 2n ** 64n, { type: "bool_type" }],
    ["a list", { type: "array" }, 2n ** 64n, { type: "list_type" }],
    ["beyond all doubles", { type: "number" }, 10n ** 400n, { type: "finite_number" }],
    ["no multiple", { multipleOf: 2 }, 2n ** 64n + 1n, { type: "multiple_of", ctx: { multiple_of: 2 } }],
    ["not listed, but nearly", { enum: [2n ** 53n + 1n] }, 2n ** 53n, { type: "one_of" }],
    ["not the fixed one, but nearly", { const: 2 ** 53 }, 2n ** 53n + 1n, { type: "one_of" }],
    ["32 bits", { type: "integer", format: "int32" }, 2n ** 31n, { msg: "Input should be a valid int32" }],
    ["64 bits", { type: "integer", format: "int64" }, 2n ** 63n, { msg: "Input should be a valid int64" }],
    [
      "in a union",
      { anyOf: [{ type: "integer", maximum: 10 }, { type: "null" }] },
      2n ** 64n,
      { loc: ["body", "x"], type: "less_than_equal" },
    ],
  ])("are refused: %s", (_, field, value, fault) => expect(faultsOf(field, value)).toMatchObject([fault]));

  it("are filled in as defaults, at any depth", () => {
    const schema = parseJson(
      `{"properties":{"default":{"type":"integer","default":1},
        "seed":{"type":"integer","default":18446744073709551615,"maximum":18446744073709551615},
        "inner":{"$ref":"#/$defs/Inner","default":{}}},
        "$defs":{"Inner":{"type":"object","properties":{"list":{"default":[9007199254740993]}}}}}`,
    ) as JsonObject;
    const value = { inner: {} };
    expect(createSchemaCheck(schema, { every: true })(value)).toBeUndefined();
    expect(value).toEqual({ default: 1, seed: 2n ** 64n - 1n, inner: { list: [9007199254740993n] } });
  });
});

it("compiles as much code for an enumeration of many entries as for one of few", () => {
  const sizes: number[] = [];
  class CountedFunction extends Function {
    constructor(...parts: string[]) {
      sizes.push(parts.at(-1)?.length ?? 0);
      super(...parts);
    }
  }
  vi.stubGlobal("Function", CountedFunction);
  try {
    for (const length of [2, 199])
      createSchemaCheck({ enum: Array.from({ length }, (_, n) => `word ${n}`) }, { every: false });
  } finally {
    vi.unstubAllGlobals();
  }
  expect(sizes).toHaveLength(2);
  expect(sizes[1]).toBe(sizes[0]);
});

describe("the work of a check", () => {
  /** Counts the calls of methods of texts that `work` makes. */
  const callsOf = (methods: ("startsWith" | "charCodeAt" | "codePointAt")[], work: () => void): number => {
    const spies = methods.map((method) => vi.spyOn(String.prototype, method));
    work();
    const count = spies.reduce((sum, spy) => sum + spy.mock.calls.length, 0);
    for (const spy of spies) spy.mockRestore();
    return count;
  };
  const union = { anyOf: [{ type: "string" }, { type: "object" }] };

  it("names as many faults of a list of unions as are answered", () => {
    const faults = faultsOf({ type: "array", items: union }, Array(300).fill(1));
    expect(faults?.length).toBe(LIMITS.inputFaultsMax);
    expect(faults?.[1]?.loc).toEqual(["body", "x", 1]);
  });

  it("compares the faults of a list of unions with their own paths alone", () => {
    const list = Array(300).fill(1);
    const calls = callsOf(["startsWith"], () => faultsOf({ type: "array", items: union }, list));
    expect(calls).toBeLessThan(list.length);
  });

  it.each<[string, JsonObject]>([
    ["counted", {}],
    ["matched", { pattern: "^(a|b)*$" }],
    ["counted for its least length", { minLength: 3 }],
  ])("is not %s for a text of more than two units for each character", (_what, more) => {
    const text = "a".repeat(10_000);
    const field = { type: "string", maxLength: 100, ...more };
    const check = createSchemaCheck({ type: "object", properties: { x: field } }, { every: true });
    const calls = callsOf(["charCodeAt", "codePointAt"], () =>
      expect(check({ x: text })).toEqual([expect.objectContaining({ type: "sequence_too_long" })]),
    );
    expect(calls).toBeLessThan(100);
  });

  it("reads each of the items that have to be unlike a few times", () => {
    let reads = 0;
    const items = Array.from({ length: 200 }, (_, at) => ({
      get a() {
        reads += 1;
        return at;
      },
    }));
    expect(faultsOf({ type: "array", uniqueItems: true }, items)).toBeUndefined();
    expect(reads).toBeLessThan(5 * items.length);
  });

  it.each<[string, unknown[], boolean]>([
    ["equal texts", ["a", "b", "a"], false],
    [
      "equal objects, their fields in another order",
      [
        { a: 1, b: [2] },
        { b: [2], a: 1 },
      ],
      false,
    ],
    ["unlike types", [1, "1", [1], { a: 1 }, null, "null"], true],
  ])("finds repeated items: %s", (_what, items, fits) => {
    const msg = "Value error, must NOT have duplicate items (items ## 0 and ";
    expect(faultsOf({ type: "array", uniqueItems: true }, items)).toEqual(
      fits ? undefined : [expect.objectContaining({ msg: expect.stringContaining(msg) })],
    );
  });
});

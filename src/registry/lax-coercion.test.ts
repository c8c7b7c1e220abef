import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parseJson, writeJson } from "../core/json/exact-json.ts";
import type { Json, JsonObject } from "../core/json/json.ts";
import { createInputCheck } from "./input-check.ts";
import type { Coercion } from "./lax-values.ts";

type Row = [value: Json, result: string, coerced?: Json];
const TABLE = parseJson(
  readFileSync(new URL("./lax-conversions.fixture.json", import.meta.url), "utf8"),
) as Record<"int" | "float" | "bool", Row[]>;

const checkOf = (schema: JsonObject, coercion?: Coercion) => {
  const { $defs, ...field } = schema;
  return createInputCheck(
    {
      schemas: {
        input: { type: "object", properties: { value: field }, ...($defs && { $defs }) },
        output: {},
      },
      restrictions: [],
    },
    { coercion },
  );
};
const read = (schema: JsonObject, value: Json, coercion?: Coercion) => {
  const checked = checkOf(schema, coercion)({ value });
  return "faults" in checked
    ? checked.faults.map(({ loc, type }) => [loc.slice(2).join("."), type].filter(Boolean).join(" "))
    : checked.input.value;
};
/** `-0` is written as 0 in JSON. */
const plain = (value: unknown): Json => parseJson(writeJson(value));

describe.each([
  ["integer", TABLE.int],
  ["number", TABLE.float],
  ["boolean", TABLE.bool],
] as const)("a field of type %s takes what pydantic takes", (type, rows) => {
  const titled = rows.map((row): [string, ...Row] => [writeJson(row), ...row]);
  it.each(titled)("%s", (_, value, result, coerced) => {
    const expected = result === "ok" ? plain(coerced) : [result];
    expect(plain(read({ type }, value))).toEqual(expected);
    const optional = { anyOf: [{ type }, { type: "null" }] };
    expect(plain(read(optional, value))).toEqual(expected);
    expect(plain(read({ type: [type, "null"] }, value))).toEqual(expected);
  });
});

it("words a fault as pydantic does", () => {
  expect(checkOf({ type: "integer" })({ value: "abc" })).toEqual({
    faults: [
      {
        loc: ["body", "value"],
        msg: "Input should be a valid integer, unable to parse string as an integer",
        type: "int_parsing",
      },
    ],
  });
});

it.each<[string, JsonObject, Json, Json]>([
  ["text that a union takes", { anyOf: [{ type: "integer" }, { type: "string" }] }, "42", "42"],
  ["a boolean that a union takes", { anyOf: [{ type: "integer" }, { type: "boolean" }] }, true, true],
  ["text in a field for text", { type: "string" }, "42", "42"],
  ["a value without a type", {}, "42", "42"],
  ["null", { type: ["integer", "null"] }, null, null],
  ["a name of an enumeration", { anyOf: [{ enum: ["1", "2"] }, { type: "integer" }] }, "1", "1"],
])("leaves %s as it is", (_, schema, value, expected) => expect(read(schema, value)).toEqual(expected));

it.each<[string, JsonObject, Json, Json]>([
  ["the first type of a union", { anyOf: [{ type: "boolean" }, { type: "integer" }] }, "1", true],
  ["the type that can", { anyOf: [{ type: "integer" }, { type: "boolean" }] }, "yes", true],
  ["a branch behind names", { anyOf: [{ enum: ["auto"] }, { type: "integer" }] }, "7", 7],
  ["items", { type: "array", items: { type: "integer" } }, ["1", 2], [1, 2]],
  ["first items", { type: "array", prefixItems: [{ type: "boolean" }] }, ["no", "no"], [false, "no"]],
  ["further fields", { type: "object", additionalProperties: { type: "number" } }, { a: "1" }, { a: 1 }],
  ["parts of allOf", { allOf: [{ type: "integer" }, { minimum: 3 }] }, "4", 4],
  ["enumerated numbers", { type: "integer", enum: [1, 2] }, "2", 2],
  [
    "what a reference in a union describes",
    {
      anyOf: [{ $ref: "#/$defs/Size" }, { enum: ["square"] }],
      $defs: { Size: { type: "object", properties: { width: { type: "integer", default: 5 } } } },
    },
    { width: "256" },
    { width: 256 },
  ],
])("coerces %s", (_, schema, value, expected) => expect(read(schema, value)).toEqual(expected));

it("names only what cannot be coerced, also in a union", () => {
  const size = { type: "object", properties: { width: { type: "integer" }, height: { type: "integer" } } };
  const schema = { anyOf: [size, { enum: ["square"] }] };
  expect(read(schema, { width: "256", height: "tall" })).toEqual(["height int_parsing"]);
});

it("checks bounds after the coercion", () =>
  expect(read({ type: "integer", minimum: 3 }, "2")).toEqual(["greater_than_equal"]));

it("ends for a schema that refers to itself", () =>
  expect(
    read({ $ref: "#/$defs/A", $defs: { A: { type: ["object", "integer"], properties: {} } } }, "5"),
  ).toBe(5));

it("does not change the caller's value", () => {
  const raw = { value: ["1"] };
  checkOf({ type: "array", items: { type: "integer" } })(raw);
  expect(raw).toEqual({ value: ["1"] });
});

it.each<[JsonObject, Json, string]>([
  [{ type: "integer" }, "42", "int_type"],
  [{ type: "integer" }, true, "int_type"],
  [{ type: "number" }, "2.5", "float_type"],
  [{ type: "boolean" }, "true", "bool_type"],
  [{ type: "boolean" }, 1, "bool_type"],
])("strict refuses %j: %j", (schema, value, type) => expect(read(schema, value, "strict")).toEqual([type]));

describe("an empty address", () => {
  const check = createInputCheck({
    schemas: {
      input: {
        type: "object",
        properties: {
          end_image_url: { type: ["string", "null"] },
          mask_url: { anyOf: [{ type: "string" }, { type: "null" }] },
          image_url: { type: "string", minLength: 1 },
          prompt: { type: ["string", "null"] },
          style: { $ref: "#/$defs/Style" },
        },
        $defs: { Style: { type: "object", properties: { cover_url: { type: ["string", "null"] } } } },
      },
      output: {},
    },
    restrictions: [{ field: "end_image_url", accepts: { type: "null" }, message: "Not trained for it." }],
  });

  it.each(["", "  ", "\n"])("%j is null where null is allowed, at any depth", (empty) => {
    const input = { end_image_url: empty, mask_url: empty, style: { cover_url: empty }, prompt: empty };
    expect(check(input)).toMatchObject({
      input: { end_image_url: null, mask_url: null, style: { cover_url: null }, prompt: empty },
    });
  });

  it("is refused where null is not allowed, and an address is left as it is", () => {
    expect(check({ image_url: "" })).toMatchObject({ faults: [{ loc: ["body", "image_url"] }] });
    expect(check({ end_image_url: "http://a.example/1" })).toMatchObject({
      faults: [{ loc: ["body", "end_image_url"], type: "feature_not_supported" }],
    });
  });
});

it("reads unions within unions whose branches have addresses of their own", () => {
  const item = { $id: "urn:acme:item", type: "integer" };
  const list = { $id: "urn:acme:list", type: "array", items: { anyOf: [item, { type: "boolean" }] } };
  expect(read({ anyOf: [list, { type: "null" }] }, ["4", "off"])).toEqual([4, false]);
});

it.each([
  ["integer", "int_parsing"],
  ["number", "float_parsing"],
])("names the fault of a text of millions of groups of digits for a field of type %s", (type, fault) => {
  expect(read({ type }, `${"1_".repeat(15_000_000)}x`)).toEqual([fault]);
});

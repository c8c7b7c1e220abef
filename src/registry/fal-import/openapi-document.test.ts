import { describe, expect, it } from "vitest";
import { writeJson } from "../../core/json/exact-json.ts";
import type { Json, JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import { COMPONENTS, falDocument } from "./fal-document.fixture.ts";
import { readOpenapi } from "./openapi-document.ts";

const NAME = "acme/painter";
const read = (document: Json) => readOpenapi(writeJson(document), NAME);
/** Reads a document whose input has one field more. */
const withField = (field: Json, components: JsonObject = {}) => {
  const { properties, ...input } = COMPONENTS.PainterInput as JsonObject;
  const fields = { ...(properties as JsonObject), extra: field };
  return read(
    falDocument(NAME, { ...COMPONENTS, ...components, PainterInput: { ...input, properties: fields } }),
  );
};
const fieldOf = (field: Json, components?: JsonObject) =>
  (withField(field, components).input.properties as JsonObject).extra;

describe("an OpenAPI document of fal", () => {
  it("gives the schemas with all that they refer to", () => {
    const { input, output, category, title } = read(falDocument(NAME));
    expect(category).toBe("text-to-image");
    expect(title).toBe("acme/painter");
    expect(input).toMatchObject({
      title: "PainterInput",
      required: ["prompt"],
      properties: { image_size: { anyOf: [{ $ref: "#/$defs/ImageSize" }, { enum: ["square"] }] } },
    });
    expect(Object.keys(input.$defs as JsonObject)).toEqual(["ImageSize"]);
    expect(Object.keys(output.$defs as JsonObject)).toEqual(["Image"]);
    expect(output.properties).toEqual({ images: { type: "array", items: { $ref: "#/$defs/Image" } } });
  });

  it("may have input and output at one path", () => {
    const document = falDocument(NAME) as { paths: Record<string, JsonObject> };
    const result = document.paths[`/${NAME}/requests/{request_id}`] as { get: JsonObject };
    const submit = (document.paths[`/${NAME}`] as { post: JsonObject }).post;
    document.paths = { [`/${NAME}`]: { post: { ...submit, responses: result.get.responses as Json } } };
    expect(read(document).output.title).toBe("PainterOutput");
  });

  it("is read in the words of OpenAPI 3.0, and loses no word", () => {
    expect(fieldOf({ type: "string", nullable: true, title: "Extra", default: "a" })).toEqual({
      title: "Extra",
      default: "a",
      anyOf: [{ type: "string" }, { type: "null" }],
    });
    expect(fieldOf({ type: "number", minimum: 0, exclusiveMinimum: true })).toEqual({
      type: "number",
      exclusiveMinimum: 0,
    });
    expect(fieldOf({ type: "number", maximum: 9, exclusiveMaximum: false })).toEqual({
      type: "number",
      maximum: 9,
    });
    expect(fieldOf({ type: "array", items: { type: "string", _fal_ui_field: "image" } })).toEqual({
      type: "array",
      items: { type: "string", "x-_fal_ui_field": "image" },
    });
  });

  it("may name a field like a word, or like a part of every object", () => {
    const components = {
      Odd: { type: "object", properties: { $ref: { type: "string" }, nullable: { type: "string" } } },
    };
    const { input } = withField({ $ref: "#/components/schemas/Odd" }, components);
    expect((input.$defs as JsonObject).Odd).toEqual(components.Odd);
    const text = writeJson(falDocument(NAME)).replace(
      '"prompt":{',
      '"__proto__":{"type":"string"},"prompt":{',
    );
    expect(Object.keys(readOpenapi(text, NAME).input.properties as JsonObject)).toContain("__proto__");
  });
});

describe("a bad document", () => {
  const paths = falDocument(NAME).paths as JsonObject;
  const chain = Object.fromEntries(
    Array.from({ length: 100 }, (_, i) => [`C${i}`, { items: { $ref: `#/components/schemas/C${i + 1}` } }]),
  );
  const cases: [string, () => unknown, RegExp][] = [
    ["no JSON", () => readOpenapi("<html>", NAME), /^is not JSON; save the OpenAPI document itself/],
    ["no OpenAPI", () => read([]), /^is no OpenAPI document: it has no "openapi"/],
    [
      "another endpoint's",
      () => read(falDocument("acme/other")),
      /^has no POST \/acme\/painter: it is of acme\/other; check/,
    ],
    ["no path", () => read({ openapi: "3.1.0" }), /it has no input schema; check/],
    [
      "no input",
      () => read({ ...falDocument(NAME), paths: { ...paths, [`/${NAME}`]: { post: {} } } }),
      /^has no input schema; write input\.json by hand/,
    ],
    [
      "no output",
      () => {
        const { [`/${NAME}/requests/{request_id}`]: _, ...others } = paths;
        return read({ ...falDocument(NAME), paths: others });
      },
      /^has no output schema; write output\.json by hand/,
    ],
    [
      "an input without fields",
      () => read(falDocument(NAME, { ...COMPONENTS, PainterInput: { type: "string" } })),
      /^its input schema lists no fields/,
    ],
    [
      "a reference to another file",
      () => withField({ $ref: "https://example.com/schema.json" }),
      /^its input schema refers to "https:\/\/example\.com\/schema\.json", which is no schema of the/,
    ],
    [
      "a reference to nothing",
      () => withField({ anyOf: [{ $ref: "#/components/schemas/Missing" }] }),
      /refers to "#\/components\/schemas\/Missing"/,
    ],
    ["a reference that is a number", () => withField({ $ref: 7 }), /refers to "7"/],
    [
      "a schema in itself",
      () =>
        withField(
          { $ref: "#/components/schemas/Tree" },
          { Tree: { properties: { children: { items: { $ref: "#/components/schemas/Tree" } } } } },
        ),
      /^its input schema contains itself by "#\/components\/schemas\/Tree"; write input\.json by hand/,
    ],
    [
      "two schemas in each other",
      () =>
        withField(
          { $ref: "#/components/schemas/A" },
          { A: { $ref: "#/components/schemas/B" }, B: { allOf: [{ $ref: "#/components/schemas/A" }] } },
        ),
      /contains itself/,
    ],
    [
      "a long chain",
      () => withField({ $ref: "#/components/schemas/C0" }, { ...chain, C100: {} }),
      /deeper than/,
    ],
    ["many levels", () => readOpenapi("[".repeat(1e6), NAME), /^is nested deeper than 64 levels/],
    ["many values", () => read(new Array(LIMITS.schemaValuesMax + 1).fill(0)), /^has more than 5000 values/],
    ["many bytes", () => readOpenapi(" ".repeat(LIMITS.schemaBytesMax + 1), NAME), /^is larger than 4 MiB/],
  ];
  it.each(cases)("of %s is refused with one line", (_, act, message) => {
    expect(act).toThrow(message);
    expect(act).not.toThrow(/\n/);
  });
});

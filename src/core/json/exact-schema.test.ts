import { describe, expect, it } from "vitest";
import { exactSchema } from "./exact-schema.ts";
import type { JsonObject } from "./json.ts";

/** Reads like a schema, so that a walk into a keyword without schemas would change it. */
const LOOKALIKE = { type: ["model"], nullable: true, format: "int64", default: 2n ** 64n };
const SCHEMA = { type: "integer" };
const COPY = { exactType: "integer" };

/** The keywords of JSON Schema 2020-12 and draft-07 with lists, objects or schemas, by what they hold. */
const PLAIN = [
  ...["$vocabulary", "required", "dependentRequired", "const", "enum", "examples"],
  ...["example", "discriminator"], // OpenAPI's
];
const ONE = [
  ...["items", "additionalItems", "prefixItems", "unevaluatedItems", "contains", "additionalProperties"],
  ...["unevaluatedProperties", "propertyNames", "not", "if", "then", "else", "contentSchema"],
];
const LISTS = ["allOf", "anyOf", "oneOf", "prefixItems", "items"];
const BY_NAME = [
  ...["properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions"],
];

const copyOf = (word: string, value: JsonObject[string]) => exactSchema({ [word]: value })[word];

describe("exactSchema", () => {
  it.each(PLAIN)("leaves the value of %s as it is, whatever names it has", (word) => {
    expect(copyOf(word, LOOKALIKE)).toBe(LOOKALIKE);
  });

  it.each(ONE)("copies the schema of %s", (word) => {
    expect(copyOf(word, SCHEMA)).toEqual(COPY);
  });

  it.each(LISTS)("copies each schema of %s", (word) => {
    expect(copyOf(word, [SCHEMA])).toEqual([COPY]);
  });

  it.each(BY_NAME)("copies each schema of %s, whatever its name", (word) => {
    for (const name of ["type", "default", "nullable", "format", "enum", "properties"])
      expect(copyOf(word, { [name]: SCHEMA })).toEqual({ [name]: COPY });
  });

  it("leaves the names that a dependency requires", () => {
    expect(copyOf("dependencies", { type: ["model"] })).toEqual({ type: ["model"] });
  });
});

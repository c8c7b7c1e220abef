import { join } from "node:path";
import { Validator } from "@seriousme/openapi-schema-validator";
import { beforeAll, describe, expect, it } from "vitest";
import { CATALOGUE } from "../core/errors/catalogue.ts";
import type { JsonObject } from "../core/json/json.ts";
import type { ModelVersion } from "../core/models/model.ts";
import { loadRegistry, type Registry } from "../registry/registry.ts";
import { llmsText, openapiDocument, openapiSchema } from "./openapi.ts";

const ROOT = join(import.meta.dirname, "../..");
const AT = {
  queue: "http://localhost:8080/queue",
  run: "http://localhost:8080/run",
  web: "http://localhost:8080",
};

interface Operation {
  operationId: string;
  responses: Record<string, object>;
}

let registry: Registry;
beforeAll(async () => {
  registry = await loadRegistry({ modelsFolder: join(ROOT, "models"), schemasFolder: join(ROOT, "schemas") });
});

describe("a model's OpenAPI document", () => {
  it("is valid 3.0 for every model, with fal's four paths and metadata", async () => {
    expect(registry.list().length).toBeGreaterThan(0);
    for (const model of registry.list()) {
      const document = openapiDocument(model, AT) as JsonObject & {
        info: JsonObject;
        paths: JsonObject;
        components: { schemas: JsonObject };
      };
      expect(await new Validator().validate(structuredClone(document)), model.endpoint).toMatchObject({
        valid: true,
      });
      expect(document.openapi).toMatch(/^3\.0\./);
      expect(document.info["x-fal-metadata"]).toMatchObject({
        endpointId: model.endpoint,
        category: model.category,
      });
      expect(Object.keys(document.paths)).toHaveLength(4);
      const input = Object.entries(document.components.schemas).find(([name]) =>
        name.endsWith("Input"),
      )?.[1] as JsonObject;
      expect(input["x-fal-order-properties"]).toEqual(model.schemas.input["x-fal-order-properties"]);
    }
  });

  it("tells the status of every error, of the calls and of the requests that failed", () => {
    const model = registry.list()[0] as ModelVersion;
    const { paths } = openapiDocument(model, AT) as unknown as {
      paths: Record<string, Record<string, Operation>>;
    };
    const operations = Object.values(paths).flatMap((methods) => Object.values(methods));
    const statuses = (name: string): string[] =>
      Object.keys(operations.find(({ operationId }) => operationId === name)?.responses ?? {});
    for (const { operationId } of operations)
      expect(statuses(operationId)).toEqual(expect.arrayContaining(["401", "429", "431", "500", "503"]));
    expect(statuses("submit")).toEqual(expect.arrayContaining(["400", "408", "413", "415", "422"]));
    expect(statuses("status")).toEqual(expect.arrayContaining(["200", "202", "404"]));
    expect(statuses("cancel")).toEqual(expect.arrayContaining(["202", "400", "404"]));
    const ofRequests = Object.values(CATALOGUE).filter(({ kind }) => kind !== "gateway");
    expect(statuses("result")).toEqual(
      expect.arrayContaining(["400", "404", ...ofRequests.map(({ status }) => `${status}`)]),
    );
  });

  it.each<[string, JsonObject, JsonObject]>([
    ["null among types", { type: ["integer", "null"] }, { type: "integer", nullable: true }],
    [
      "a null branch",
      { anyOf: [{ type: "string" }, { type: "null" }] },
      { anyOf: [{ type: "string" }], nullable: true },
    ],
    ["several types", { type: ["integer", "string"] }, { anyOf: [{ type: "integer" }, { type: "string" }] }],
    ["a constant", { const: "a" }, { enum: ["a"] }],
    [
      "an exclusive bound",
      { type: "number", exclusiveMinimum: 0 },
      { type: "number", minimum: 0, exclusiveMinimum: true },
    ],
    ["examples", { examples: [1, 2] }, { example: 1 }],
    ["a reference", { $ref: "#/$defs/File" }, { $ref: "#/components/schemas/XFile" }],
    ["a bare list", { type: "array" }, { type: "array", items: {} }],
  ])("translates %s", (_what, schema, expected) => {
    expect(openapiSchema(schema, "X")).toEqual(expected);
  });
});

it("llms.txt names every field of every model and how to call it", () => {
  for (const model of registry.list()) {
    const text = llmsText(model, AT);
    for (const name of Object.keys(model.schemas.input.properties as JsonObject))
      expect(text).toContain(`\`${name}\``);
    expect(text).toContain(`${AT.run}/${model.endpoint}`);
    expect(text).not.toContain("undefined");
  }
});

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv } from "ajv";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { EDITOR_SCHEMA } from "./init-engine.ts";
import { manifestSchemaForEditors } from "./manifest-schema.ts";

const PROJECT = join(import.meta.dirname, "../..");
const schema = JSON.parse(manifestSchemaForEditors()) as object;
const ajv = new Ajv({ allErrors: true, strict: false, logger: false });
const check = ajv.compile(schema);
const faults = (manifest: unknown): string[] => {
  check(manifest);
  return (check.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
};
const manifests = readdirSync(join(PROJECT, "models"), { recursive: true, encoding: "utf8" }).filter((path) =>
  path.endsWith("model.yaml"),
);
const read = (path: string) => parse(readFileSync(join(PROJECT, "models", path), "utf8"));

describe("the schema of model.yaml for editors", () => {
  it("equals the committed file (npm run schemas:manifest)", () =>
    expect(readFileSync(EDITOR_SCHEMA, "utf8")).toBe(manifestSchemaForEditors()));

  it("describes every field, for a person who points at it", () => {
    const bare = Object.entries(fieldsOf(schema)).flatMap(([name, field]) =>
      Object.entries(field.properties ? fieldsOf(field) : { "": field })
        .filter(([, { description }]) => !description)
        .map(([inner]) => `${name} ${inner}`),
    );
    expect(bare).toEqual([]);
  });

  it.each(manifests)("takes models/%s", (path) => expect(faults(read(path))).toEqual([]));

  it("refuses a runner that the built-in engine does not have, and no runner of another engine", () => {
    const manifest = read(manifests.find((path) => path.includes("qwen-image/1.0.0")) ?? "");
    expect(faults({ ...manifest, runner: "shout" })).toContain(
      "/runner must be equal to one of the allowed values",
    );
    expect(faults({ ...manifest, engine: "shout", runner: "shout" })).toEqual([]);
    expect(faults({ ...manifest, memoryMb: 1 })).toEqual([" must NOT have additional properties"]);
  });
});

interface Field {
  description?: string;
  properties?: Record<string, Field>;
}

function fieldsOf(of: Field): Record<string, Field> {
  return of.properties ?? {};
}

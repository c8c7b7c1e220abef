import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { parseJson } from "../../core/json/exact-json.ts";
import { isObject, type JsonObject } from "../../core/json/json.ts";
import { isEndpointId } from "../../core/models/endpoint.ts";
import { engineRunners } from "../../gpu-workers/worker/process/engine-programs.ts";
import { buildPackage } from "../fal-import/build-package.ts";
import { createManifestCheck } from "../packages/package-check.ts";
import { createContentCheck } from "../packages/package-content.ts";
import { SHIPPED_ENDPOINTS } from "./endpoints.ts";

const SCHEMAS = resolve(import.meta.dirname, "../../../schemas");
const names = Object.keys(SHIPPED_ENDPOINTS);
const check = createContentCheck(createManifestCheck(SCHEMAS), engineRunners());

describe("the shipped endpoints", () => {
  it.each([
    "fal-ai/qwen-image",
    "fal-ai/qwen-image/image-to-image",
    "fal-ai/wan/v2.2-a14b/text-to-video",
    "fal-ai/wan/v2.2-a14b/image-to-video",
    "fal-ai/mmaudio-v2",
  ])("give the whole schemas that %s is known to have", (name) => {
    for (const side of ["input", "output"] as const) {
      const file = join(SCHEMAS, "models", name, "1.0.0", `${side}.json`);
      expect(withoutExamples(SHIPPED_ENDPOINTS[name]?.[side] ?? {})).toEqual(
        withoutExamples(parseJson<JsonObject>(readFileSync(file, "utf8"))),
      );
    }
  });

  it.each(names)("give %s a package without a fault, or the reason why nothing serves it", async (name) => {
    const shipped = SHIPPED_ENDPOINTS[name];
    if (!shipped) throw new Error(`${name} is missing`);
    expect(isEndpointId(name)).toBe(true);
    expect([shipped.servedBy, shipped.unserved].filter((part) => part !== undefined)).toHaveLength(1);
    // With an engine of one's own, every endpoint can be served.
    const { engine, runner, ...rest } = shipped.servedBy ?? { engine: "stub", runner: "stub" };
    const { texts, isRunnerKnown } = buildPackage(shipped, {
      endpoint: name,
      version: "1.0.0",
      engine,
      runner,
      ...rest,
    });
    expect(isRunnerKnown).toBe(shipped.servedBy !== undefined);
    expect(await check({ texts, files: {} })).toMatchObject({ endpoint: name, engine, runner });
  });
});

it("are those of the page about them", () => {
  const page = readFileSync(resolve(import.meta.dirname, "../../../docs/fal-endpoints.md"), "utf8");
  const rows = page.matchAll(/^\| `(fal-ai\/[^`]+)` +\| (.+?) +\|$/gm);
  expect(Object.fromEntries([...rows].map(([, name, server]) => [name, server]))).toEqual(
    Object.fromEntries(
      Object.entries(SHIPPED_ENDPOINTS).map(([name, { servedBy, unserved }]) => [
        name,
        servedBy ? `\`${servedBy.engine}\`: \`${servedBy.runner}\`` : `nothing: ${unserved}`,
      ]),
    ),
  );
});

/** The demonstration models name prompts that they were trained on; fields may have any order. */
function withoutExamples({ properties, ...schema }: JsonObject): JsonObject {
  const fields: JsonObject = {};
  for (const [name, field] of Object.entries(isObject(properties) ? properties : {})) {
    const { examples: _, ...rest } = field as JsonObject;
    fields[name] = rest;
  }
  return { ...schema, "x-fal-order-properties": Object.keys(fields).sort(), properties: fields };
}

import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import type { Json, JsonObject } from "../../core/json/json.ts";
import { engineRunners } from "../../gpu-workers/worker/process/engine-programs.ts";
import { createInputCheck } from "../input-check.ts";
import { deriveRestrictions } from "./derive-restrictions.ts";
import { PROFILES, type RunnerProfile } from "./runner-profile.ts";

const PROFILE: RunnerProfile = {
  engine: "acme",
  runner: "paint",
  reads: {
    prompt: {},
    steps: { minimum: 2, maximum: 40 },
    format: { enum: ["png", "jpeg"] },
    loras: { maxItems: 1 },
    shift: { exclusiveMinimum: 0 },
  },
  notes: { speed: { enum: ["none", "fast"] } },
  needs: ["prompt"],
  manifest: { slots: 1, memoryMiB: 1, timeouts: {} },
};
const schemaOf = (fields: JsonObject, required: string[] = []) => ({
  type: "object",
  required,
  properties: { prompt: { type: "string" }, ...fields },
});
const derive = (fields: JsonObject, required?: string[]) =>
  deriveRestrictions(schemaOf(fields, required), PROFILE);

/** The message that refuses a value of a field; `undefined` when the version takes it. */
function refusal(name: string, field: JsonObject, value?: Json): string | undefined {
  const input = schemaOf({ [name]: field });
  const schemas = { input, output: {} };
  const check = createInputCheck({ schemas, restrictions: derive({ [name]: field }).restrictions });
  const checked = check({ prompt: "x", ...(value !== undefined && { [name]: value }) });
  if (!("faults" in checked)) return undefined;
  expect(checked.faults).toMatchObject([{ type: "feature_not_supported", loc: ["body", name] }]);
  return checked.faults[0]?.msg;
}

describe("a field that the runner does not read", () => {
  it.each<[string, JsonObject, Json[], Json, string]>([
    ["true", { type: "boolean", default: true }, [true], false, "leave it at true."],
    ["a number", { type: "number", default: 0.8 }, [0.8], 0.9, "leave it at 0.8."],
    ["a text", { type: "string", default: "auto" }, ["auto"], "wide", 'leave it at "auto".'],
    ["a list", { type: "array", default: [] }, [[]], [1], "leave it at []."],
    ["no default, a flag", { type: "boolean" }, [false], true, "leave it at false."],
    ["no default, a list", { type: "array" }, [[]], [1], "leave it empty."],
    ["no default, a text", { type: ["string", "null"] }, [null], "x", "leave it out."],
    [
      "no default, a union",
      { anyOf: [{ type: "boolean" }, { type: "null" }] },
      [false, null],
      true,
      "at false.",
    ],
  ])("keeps its default: %s", (_, field, taken, refused, remedy) => {
    for (const value of [undefined, ...taken]) expect(refusal("extra", field, value)).toBeUndefined();
    expect(refusal("extra", field, refused)).toMatch(/^This version does not read `extra`; /);
    expect(refusal("extra", field, refused)?.endsWith(remedy)).toBe(true);
  });

  it.each(["constructor", "__proto__", "toString"])("may be named %s", (name) => {
    const field = { type: "boolean", default: false };
    const properties = Object.fromEntries([
      ["prompt", { type: "string" }],
      [name, field],
    ]);
    const { restrictions, noted } = deriveRestrictions({ type: "object", properties }, PROFILE);
    expect(restrictions).toMatchObject([{ field: name, accepts: { const: false } }]);
    expect(noted).toEqual([]);
  });

  it("is refused at the import when callers must send it", () => {
    expect(() => derive({ extra: { type: "string" } }, ["extra"])).toThrow(
      "the runner paint of the engine acme does not read extra, which the public schema requires",
    );
  });
});

describe("a field that the runner reads", () => {
  it.each<[string, string, JsonObject, Json, Json, string]>([
    ["bounds", "steps", { type: "integer", maximum: 50, minimum: 2 }, 40, 41, "`steps` from 2 to 40."],
    ["no bounds", "steps", { type: "integer" }, 2, 1, "`steps` from 2 to 40."],
    ["a low bound", "shift", { type: "number", minimum: 0 }, 0.1, 0, "`shift` above 0."],
    ["options", "format", { type: "string", enum: ["png", "gif"] }, "png", "gif", 'takes "png" as `format`.'],
    ["any text", "format", { type: "string" }, "jpeg", "gif", 'takes "png", "jpeg" as `format`.'],
    ["items", "loras", { type: "array", maxItems: 3 }, [1], [1, 2], "takes at most 1 items of `loras`."],
  ])("is restricted to what it takes: %s", (_, name, field, taken, refused, message) => {
    expect(refusal(name, field, taken)).toBeUndefined();
    expect(refusal(name, field, refused)).toContain(message);
  });

  it("may still be null", () => {
    const nullable = { anyOf: [{ type: "string", enum: ["png", "gif"] }, { type: "null" }] };
    expect(refusal("format", nullable, null)).toBeUndefined();
    expect(refusal("format", nullable, "gif")).toContain('takes "png"');
    expect(refusal("steps", { type: ["integer", "null"] }, null)).toBeUndefined();
  });

  it("is not restricted where the public schema allows no more", () => {
    const { restrictions } = derive({
      steps: { type: "integer", minimum: 4, maximum: 30 },
      format: { type: "string", enum: ["png"] },
      shift: { type: "number", exclusiveMinimum: 0 },
      sync_mode: { type: "boolean", default: false },
    });
    expect(restrictions).toEqual([]);
  });

  it("is refused at the import when its default is beyond the runner", () => {
    expect(() => derive({ steps: { type: "integer", default: 50 } })).toThrow(
      "the runner paint of the engine acme cannot do steps: 50, which is the field's default",
    );
  });
});

it("names the fields without effect, and the missing ones", () => {
  expect(derive({ speed: { type: "string", enum: ["none", "fast"] } })).toEqual({
    restrictions: [],
    noted: ["speed"],
  });
  expect(refusal("speed", { type: "string" }, "slow")).toContain('takes "none", "fast" as `speed`');
  expect(() => deriveRestrictions({ type: "object", properties: {} }, PROFILE)).toThrow(
    "the runner paint of the engine acme needs prompt, which the public schema does not have",
  );
});

describe("the table of runners", () => {
  const ENGINES: Record<string, string> = {
    onnx: "src/gpu-workers/engines/onnx",
    diffusers: "engines/python/tempera_diffusers",
  };
  it("has runners of this project alone", () => {
    for (const { engine, runner } of PROFILES) expect(engineRunners()[engine]).toContain(runner);
    expect([...new Set(PROFILES.map(({ engine }) => engine))].sort()).toEqual(Object.keys(ENGINES).sort());
  });

  it.each(Object.keys(ENGINES))("has fields of %s alone that its source names", (engine) => {
    const own = PROFILES.filter((profile) => profile.engine === engine);
    const fields = own.flatMap(({ reads, notes }) => [...Object.keys(reads), ...Object.keys(notes)]);
    const folder = resolve(import.meta.dirname, "../../..", ENGINES[engine] as string);
    const sources = readdirSync(folder, { recursive: true, encoding: "utf8" })
      .filter((file) => /\.(ts|py)$/.test(file) && !/\.(test|fixture)\.ts$/.test(file))
      .map((file) => readFileSync(join(folder, file), "utf8"))
      .join("\n");
    const unnamed = fields.filter(
      (field) => !new RegExp(`"${field}"|\\b${field}:|\\.${field}\\b`).test(sources),
    );
    expect(fields.length).toBeGreaterThan(5);
    expect(unnamed).toEqual([]);
  });
});

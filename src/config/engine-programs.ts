import { isAbsolute, normalize } from "node:path";
import { z } from "zod";
import {
  BUILT_IN_ENGINES,
  type ConfiguredEngine,
  type ConfiguredEngines,
  ISOLATIONS,
} from "../core/engines/configured-engine.ts";
import { parseEngineEnvironment } from "../core/engines/engine-environment.ts";
import { parseJson } from "../core/json/exact-json.ts";
import { isObject } from "../core/json/json.ts";
import { nearestName } from "./nearest-name.ts";

/** Longest list of an engine: arguments, variables, paths or runners. */
const LIST_MAX = 100;

const list = (item: z.ZodType<string>, kind: string) =>
  z.array(item, `must be a list of ${kind}`).max(LIST_MAX, `must have at most ${LIST_MAX} ${kind}`);
const text = (kind: string) => z.string(`must be a list of ${kind}; put each in quotes`);
const path = z.string("must be an absolute path").refine(isAbsolute, {
  error: ({ input }) => `must be an absolute path (is ${JSON.stringify(input)})`,
  abort: true,
});
const isBelow = (folder: string) => (value: string) => {
  const plain = normalize(value);
  return plain.startsWith(folder) && plain !== folder;
};

const FIELDS = {
  command: z.preprocess((value) => value ?? "", path),
  args: list(text("arguments"), "arguments").default([]),
  environment: list(text("names of variables"), "names of variables")
    .superRefine((names, check) => {
      try {
        if (names.length > 0) parseEngineEnvironment(names.join(","));
      } catch (error) {
        check.addIssue({ code: "custom", message: (error as Error).message });
      }
    })
    .default([]),
  isolation: z.enum(ISOLATIONS, `must be ${ISOLATIONS.join(", ").replace(/, (\S+)$/, " or $1")}`).optional(),
  readable: list(
    path.refine(isBelow("/"), "must not be the root folder, which would open everything"),
    "paths",
  ).default([]),
  devices: list(path.refine(isBelow("/dev/"), "must be a device file below /dev"), "device files").default(
    [],
  ),
  runners: list(text("runners"), "runners").optional(),
} satisfies Record<keyof ConfiguredEngine, z.ZodType>;

const engine = z.strictObject(FIELDS, {
  error: (issue) =>
    issue.code === "unrecognized_keys"
      ? issue.keys
          .map((key) => `has a field "${key}", which does not exist${nearestName(key, Object.keys(FIELDS))}`)
          .join("; ")
      : `must be a mapping with ${Object.keys(FIELDS).join(", ")}`,
});

const name = z
  .string()
  .regex(/^[a-z][a-z0-9_-]{0,62}$/, "is no name for an engine; use a-z, 0-9, - and _")
  .refine((value) => !(BUILT_IN_ENGINES as readonly string[]).includes(value), {
    message: "is the name of a built-in engine; choose another one",
  });

const engines = z.record(z.string(), engine, "must be a mapping of engines by their names");

/** Reads the text that the environment or `--set` gives: a JSON object. */
function fromText(value: unknown): unknown {
  if (typeof value !== "string") return value;
  try {
    return parseJson(value);
  } catch {
    return value;
  }
}

/**
 * Accepts engines by their names, as a mapping or as its JSON text. A fault begins with the path of its
 * value: `gradient.command must be an absolute path (is "run.sh")`.
 */
export const engineProgramsSchema: z.ZodType<ConfiguredEngines | undefined> = z
  .unknown()
  .transform((value, check): ConfiguredEngines => {
    const found = fromText(value);
    const parsed = engines.safeParse(found);
    const faults = [
      ...Object.keys(isObject(found) ? found : {}).flatMap((key) =>
        (name.safeParse(key).error?.issues ?? []).map(({ message }) => `${key} ${message}`),
      ),
      ...(parsed.error?.issues ?? []).map(({ path: at, message }) => `${at.join(".")} ${message}`.trim()),
    ];
    for (const message of faults) check.addIssue({ code: "custom", message });
    return faults.length > 0 || !parsed.data ? z.NEVER : parsed.data;
  });

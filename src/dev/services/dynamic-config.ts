import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { z } from "zod";

/** The format of Temporal's dynamic configuration files: each key has values, each with constraints. */
const dynamicConfig = z.record(
  z.string(),
  z
    .array(
      z.object({
        value: z.union([z.string(), z.number(), z.boolean()]),
        constraints: z.object({}).strict().optional(),
      }),
    )
    .length(1),
);

const DEVELOPMENT = fileURLToPath(
  new URL("../../../temporal/dynamic-config/development.yaml", import.meta.url),
);

/**
 * Reads the dynamic configuration for development as flags of `temporal server start-dev`:
 * `["--dynamic-config-value", "matching.useNewMatcher=true", …]`. Rejects when a value has constraints, since
 * a flag cannot have any.
 */
export async function dynamicConfigFlags(file: string = DEVELOPMENT): Promise<string[]> {
  const values = dynamicConfig.parse(parse(await readFile(file, "utf8")));
  return Object.entries(values).flatMap(([key, [entry]]) => [
    "--dynamic-config-value",
    `${key}=${JSON.stringify(entry?.value)}`,
  ]);
}

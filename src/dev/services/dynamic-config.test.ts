import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { dynamicConfigFlags } from "./dynamic-config.ts";

test("makes each entry of the development file a flag with a JSON value", async () => {
  const flags = await dynamicConfigFlags();
  expect(flags.filter((flag) => flag === "--dynamic-config-value")).toHaveLength(flags.length / 2);
  expect(flags).toContain("matching.enableFairness=true");
  expect(flags).toContain("history.transferProcessorMaxPollRPS=2000");
});

test("refuses an entry with constraints, which a flag cannot have", async () => {
  const folder = await mkdtemp(join(tmpdir(), "tempera-config-"));
  const file = join(folder, "constrained.yaml");
  await writeFile(file, "matching.rps:\n  - value: 1\n    constraints: { namespace: tempera }\n");
  await expect(dynamicConfigFlags(file)).rejects.toThrow();
  await rm(folder, { recursive: true });
});

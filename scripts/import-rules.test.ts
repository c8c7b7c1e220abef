import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";

const PROJECT = resolve(import.meta.dirname, "..");

/** One violation of each rule: the line, and the file that contains it. */
const VIOLATIONS: Record<string, { file: string; line: string }> = {
  "core-sees-only-core": { file: "src/core/a.ts", line: 'import type { Fal } from "../fal/a.ts";' },
  "core-has-pure-packages-only": { file: "src/core/b.ts", line: 'import { z } from "zod";' },
  "fal-sees-only-fal-core": { file: "src/fal/b.ts", line: 'import "../registry/a.ts";' },
  "registry-sees-only-registry-core": { file: "src/registry/b.ts", line: 'import "../config/a.ts";' },
  "adapters-sees-only-adapters-core": { file: "src/adapters/b.ts", line: 'import "../fal/a.ts";' },
  "api-sees-only-api-core-registry-fal": { file: "src/api/b.ts", line: 'import "../adapters/a.ts";' },
  "activities-sees-only-activities-core-registry-fal": {
    file: "src/activities/b.ts",
    line: 'import "../api/a.ts";',
  },
  "gpu-workers-sees-only-gpu-workers-core-registry-fal": {
    file: "src/gpu-workers/b.ts",
    line: 'import "../activities/a.ts";',
  },
  "workflows-sees-only-workflows-activities-core-registry-fal": {
    file: "src/workflows/b.ts",
    line: 'import "../adapters/a.ts";',
  },
  "maintenance-sees-only-maintenance-activities-core-registry-fal": {
    file: "src/maintenance/b.ts",
    line: 'import "../adapters/a.ts";',
  },
  "conformance-suite-sees-no-source": {
    file: "tests/conformance/fal/a.ts",
    line: 'import "../../../src/core/a.ts";',
  },
  "workflows-see-activities-as-types": {
    file: "src/workflows/c.ts",
    line: 'import { a } from "../activities/a.ts";',
  },
  "config-sees-only-config-core": { file: "src/config/b.ts", line: 'import "../registry/a.ts";' },
  "adapters-own-their-drivers": { file: "src/api/c.ts", line: 'import postgres from "postgres";' },
  "ffmpeg-in-engines-only": { file: "src/api/d.ts", line: 'import "node-av";' },
  "source-does-not-see-tests": { file: "src/api/e.ts", line: 'import "../../tests/a.ts";' },
  "no-cycles": { file: "src/fal/c.ts", line: 'import "./d.ts";' },
  "no-unresolvable": { file: "src/fal/e.ts", line: 'import "./nowhere.ts";' },
  "no-undeclared-packages": { file: "src/bin/b.ts", line: 'import "vitest";' },
};

const ALLOWED = {
  "src/workflows/allowed.ts": 'import type { A } from "../activities/a.ts";\nexport type B = A;',
  "src/adapters/allowed.ts":
    'import postgres from "postgres";\nimport { a } from "../core/allowed.ts";\nawait using x = postgres(a);',
  "src/core/allowed.ts": [
    'import { createHash } from "node:crypto";',
    'import { sha256 } from "@noble/hashes/sha2.js";',
    'import ipaddr from "ipaddr.js";',
    'import { LRUCache } from "lru-cache";',
    'import { v7 } from "uuid";',
    "export const a = [createHash, sha256, ipaddr, LRUCache, v7];",
  ].join("\n"),
  "src/gpu-workers/engines/onnx/allowed.ts": 'import "../../../core/allowed.ts";',
  "src/maintenance/allowed.ts": 'import "../activities/a.ts";\nimport "../core/allowed.ts";',
  "src/evaluation/allowed.ts": 'import "../gpu-workers/a.ts";\nimport "../cli/a.ts";',
  "src/bin/allowed.ts": 'import "../config/a.ts";\nimport "../api/a.ts";\nimport "../adapters/allowed.ts";',
};

let folder: string;
let violations: { rule: string; from: string }[];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-rules-"));
  const folders = [
    "core",
    "fal",
    "registry",
    "adapters",
    "api",
    "activities",
    "gpu-workers",
    "workflows",
    "maintenance",
    "config",
    "cli",
    "bin",
  ];
  const files: Record<string, string> = { ...ALLOWED, "tests/a.ts": "", "src/fal/d.ts": 'import "./c.ts";' };
  for (const name of folders) files[`src/${name}/a.ts`] ??= "export const a = 1;\nexport type A = 1;\n";
  for (const { file, line } of Object.values(VIOLATIONS)) files[file] = line;
  for (const [file, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, file)), { recursive: true });
    await writeFile(join(folder, file), text);
  }
  await Promise.all(
    ["node_modules", "package.json"].map((name) => symlink(join(PROJECT, name), join(folder, name))),
  );
  violations = await cruise(folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test.each(Object.entries(VIOLATIONS))("reports a violation of %s", (rule, { file }) => {
  expect(violations).toContainEqual({ rule, from: file });
});

test("accepts allowed imports", () => {
  expect(violations.filter(({ from }) => from in ALLOWED)).toEqual([]);
});

async function cruise(at: string): Promise<{ rule: string; from: string }[]> {
  const program = join(PROJECT, "node_modules/dependency-cruiser/bin/dependency-cruise.mjs");
  const args = [
    "--config",
    join(PROJECT, ".dependency-cruiser.cjs"),
    "--output-type",
    "json",
    "src",
    "tests",
  ];
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...args], {
    cwd: at,
    maxBuffer: 32 << 20,
  });
  const { summary } = JSON.parse(stdout) as {
    summary: { violations: { from: string; rule: { name: string } }[] };
  };
  return summary.violations.map(({ from, rule }) => ({ rule: rule.name, from }));
}

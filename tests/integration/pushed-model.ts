/** Model packages of the stub engine for tests: folders, and archives of them. */
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { create } from "tar";
import { stringify } from "yaml";
import type { JsonObject } from "../../src/core/json/json.ts";

const INPUT = {
  type: "object",
  properties: {
    prompt: { type: "string", maxLength: 1000 },
    delay_ms: { type: "integer", default: 0 },
    steps: { type: "integer" },
    fail: { type: "string" },
  },
};
const OUTPUT = { type: "object", properties: { echo: { type: "string" } } };

export interface PushedModel {
  endpoint?: string;
  version?: string;
  manifest?: JsonObject;
  input?: JsonObject;
  output?: JsonObject;
  files?: Record<string, string | Buffer>;
}

/** Writes a package, its schemas in it. Returns its folder. */
export async function writePackage(
  root: string,
  {
    endpoint = "acme/echo",
    version = "1.0.0",
    manifest = {},
    input = INPUT,
    output = OUTPUT,
    files = { "weights.bin": "weights" },
  }: PushedModel = {},
): Promise<string> {
  const folder = join(root, endpoint.replaceAll("/", "-"), version);
  const sha256 = (content: string | Buffer): string => createHash("sha256").update(content).digest("hex");
  const put = async (path: string, content: string | Buffer): Promise<void> => {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), content);
  };
  await put(
    "model.yaml",
    stringify({
      endpoint,
      version,
      title: `Echo ${version}`,
      description: "For tests.",
      category: "text-to-text",
      runner: "stub",
      engine: "stub",
      slots: 4,
      memoryMiB: 10,
      files: Object.fromEntries(Object.entries(files).map(([name, content]) => [name, sha256(content)])),
      ...manifest,
    }),
  );
  await put("schemas/input.json", JSON.stringify(input));
  await put("schemas/output.json", JSON.stringify(output));
  for (const [name, content] of Object.entries(files)) await put(name, content);
  return folder;
}

/** The archive of a package, in memory. */
export async function packageArchive(root: string, model: PushedModel = {}): Promise<Buffer> {
  const folder = await writePackage(root, model);
  const file = `${folder}.tar.gz`;
  await create({ file, cwd: folder, gzip: true, portable: true }, ["."]);
  return readFile(file);
}

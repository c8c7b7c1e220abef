import { chmod, lstat, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { closeDataFolder } from "./data-folder.ts";

let root: string;
let folder: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "tempera-data-"));
  folder = join(root, "data");
});
afterEach(() => rm(root, { recursive: true, force: true }));

const modeOf = async (...path: string[]): Promise<string> =>
  ((await lstat(join(...path))).mode & 0o777).toString(8);

it("is created for its user only", async () => {
  await closeDataFolder(folder);
  expect(await modeOf(folder)).toBe("700");
});

it("of an earlier version is closed, with the databases and files that others could read", async () => {
  for (const path of ["temporal", "objects/a/b", "postgres", "weights/v", "mine"])
    await mkdir(join(folder, path), { recursive: true, mode: 0o755 });
  const files = [
    "temporal/temporal.db",
    "objects/a/b/image",
    "postgres/postgres.log",
    "weights/v/w",
    "mine/x",
  ];
  for (const file of files) await writeFile(join(folder, file), "bytes", { mode: 0o644 });
  await writeFile(join(root, "elsewhere"), "", { mode: 0o644 });
  await symlink(join(root, "elsewhere"), join(folder, "objects/link"));
  for (const path of [".", "temporal", "objects", "objects/a", "objects/a/b"])
    await chmod(join(folder, path), 0o755);

  await closeDataFolder(folder);
  for (const path of [".", "temporal", "objects", "objects/a", "objects/a/b", "postgres"])
    expect([path, await modeOf(folder, path)]).toEqual([path, "700"]);
  for (const file of files.slice(0, 3)) expect([file, await modeOf(folder, file)]).toEqual([file, "600"]);
  expect(await readFile(join(folder, "objects/a/b/image"), "utf8")).toBe("bytes");
  // Files that are not the platform's, and links that lead out of the folder, stay as they are.
  expect([await modeOf(folder, "mine/x"), await modeOf(root, "elsewhere")]).toEqual(["644", "644"]);
  // Engines with a user of their own read these.
  expect(await modeOf(folder, "weights/v/w")).toBe("644");
});

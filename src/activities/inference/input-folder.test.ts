import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { openInputFolder } from "./input-folder.ts";

let parent: string;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), "tempera-input-folder-"));
});
afterEach(() => rm(parent, { recursive: true, force: true }));

/** The id of a process that was and is no more. */
async function deadPid(): Promise<number> {
  const child = spawn(process.execPath, ["-e", ""]);
  await once(child, "exit");
  return child.pid ?? 0;
}

it("removes the folders of killed workers of this host and no others", async () => {
  const dead = await deadPid();
  const left = `tempera-inputs-gpu_1-${dead}-abc123`;
  const others = [
    `tempera-inputs-gpu_1-${process.ppid}-abc123`,
    `tempera-inputs-gpu_2-${dead}-abc123`,
    `tempera-inputs-gpu_1-notes`,
    "other",
  ];
  for (const name of [left, ...others]) await mkdir(join(parent, name));
  await writeFile(join(parent, left, "0"), "a file");
  // A container that was started again: the same process id.
  const before = `tempera-inputs-gpu_1-${process.pid}-abc123`;
  await mkdir(join(parent, before));
  const anHourAgo = Date.now() / 1000 - 3600;
  await utimes(join(parent, before), anHourAgo, anHourAgo);
  const [first, second] = [await openInputFolder(parent, "gpu/1"), await openInputFolder(parent, "gpu/1")];
  const own = [first, second].map(({ path }) => path.slice(parent.length + 1));
  expect((await readdir(parent)).sort()).toEqual([...others, ...own].sort());
  await first[Symbol.asyncDispose]();
  await second[Symbol.asyncDispose]();
  expect((await readdir(parent)).sort()).toEqual([...others].sort());
});

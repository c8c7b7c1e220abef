import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { takeFolder } from "./folder-lock.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-folder-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const file = () => join(folder, "platform.json");

it("refuses a folder that a platform holds, with its process and then its address", async () => {
  const held = await takeFolder(folder);
  await expect(takeFolder(folder)).rejects.toThrow(
    `A platform runs on the data folder ${folder} already: process ${process.pid}, which is starting. ` +
      `Use that one, stop it with \`kill ${process.pid}\`, or set TEMPERA_DATA to another folder.`,
  );
  await held.announce("http://localhost:8080");
  await expect(takeFolder(folder)).rejects.toThrow(`process ${process.pid}, http://localhost:8080.`);
  await held.release();
  await (await takeFolder(folder)).release();
});

it("takes over the folder of a process that has ended", async () => {
  const child = spawn(process.execPath, ["--version"]);
  await once(child, "exit");
  await writeFile(file(), JSON.stringify({ pid: child.pid, startedAt: "then" }));
  await takeFolder(folder);
  expect(JSON.parse(await readFile(file(), "utf8"))).toMatchObject({ pid: process.pid });
});

it("takes over the folder of a process whose id another process has by now", async () => {
  await writeFile(file(), JSON.stringify({ pid: process.pid, startedAt: "before this process" }));
  const held = await takeFolder(folder);
  expect(JSON.parse(await readFile(file(), "utf8"))).not.toMatchObject({ startedAt: "before this process" });
  await held.release();
});

it("takes over a folder whose file was not written completely", async () => {
  await writeFile(file(), "");
  await (await takeFolder(folder)).release();
});

it("gives a folder to one of several at once", async () => {
  const results = await Promise.allSettled(Array.from({ length: 5 }, () => takeFolder(folder)));
  expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
});

import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { Frame } from "../../../core/requests/session.ts";
import { LentFiles } from "./lent-files.ts";

let home: string;
let folder: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "lent-"));
  folder = mkdtempSync(join(home, "engine-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

function inputFile(name: string) {
  const path = join(home, name);
  writeFileSync(path, name, { mode: 0o600 });
  return { path, contentType: "image/png", bytes: name.length, sha256: "" };
}

it("lends each file at a path of this engine, for as long as the run", async () => {
  const lent = new LentFiles(folder);
  const files = [inputFile("one.png"), inputFile("two.png")];
  const loan = await lent.lend(files);
  const other = await lent.lend(files);
  expect(loan.files.map(({ path }) => readFileSync(path, "utf8"))).toEqual(["one.png", "two.png"]);
  for (const { path } of loan.files) {
    expect(path.startsWith(`${folder}/`)).toBe(true);
    // The engine's own user reads it.
    expect(statSync(path).mode & 0o004).toBe(0o004);
  }
  await loan[Symbol.asyncDispose]();
  expect(loan.files.map(({ path }) => existsSync(path))).toEqual([false, false]);
  expect(other.files.map(({ path }) => existsSync(path))).toEqual([true, true]);
  expect(files.map(({ path }) => existsSync(path))).toEqual([true, true]);
});

it("leaves nothing behind when a file is missing", async () => {
  const missing = { ...inputFile("one.png"), path: join(home, "none.png") };
  await expect(new LentFiles(folder).lend([inputFile("two.png"), missing])).rejects.toThrow(/ENOENT/);
  expect(existsSync(join(folder, "0"))).toBe(false);
});

it("lends the files of a frame until it is settled, and the rest until the session ends", async () => {
  const frames = (async function* (): AsyncGenerator<Frame> {
    for (const sequence of [1, 2])
      yield { sequence, payload: new Uint8Array(), files: [inputFile(`${sequence}.png`)] };
    yield { sequence: 3, payload: new Uint8Array() };
  })();
  const settled: number[] = [];
  const lent = new LentFiles(folder).lendFrames(frames, {
    started: () => {},
    output: async () => {},
    settled: async (sequence) => void settled.push(sequence),
  });
  const paths: string[] = [];
  for await (const { files = [] } of lent.inputs) paths.push(...files.map(({ path }) => path));
  expect(paths.map((path) => [dirname(dirname(path)), existsSync(path)])).toEqual([
    [folder, true],
    [folder, true],
  ]);
  await lent.listener.settled(1, undefined);
  expect(settled).toEqual([1]);
  expect(paths.map((path) => existsSync(path))).toEqual([false, true]);
  await lent.end();
  expect(paths.map((path) => existsSync(path))).toEqual([false, false]);
});

/** The command without Temporal's server: it names the command that builds it, and CI leaves the run out. */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";

const RUN = resolve(import.meta.dirname, "../../scripts/run.mjs");
const LINE = /needs Temporal server .* run `npm run test:production -- --build` once .*\n$/;

let cache: string;
beforeAll(async () => {
  cache = await mkdtemp(join(tmpdir(), "tempera-no-build-"));
});
afterAll(() => rm(cache, { recursive: true }));

const run = (...args: string[]): Promise<{ code: number | null; output: string }> =>
  new Promise((done) => {
    const env = { ...process.env, TEMPERA_CACHE: cache };
    const child = execFile(process.execPath, [RUN, "test:production", ...args], { env }, (_, out, error) =>
      done({ code: child.exitCode, output: out + error }),
    );
  });

it.each([
  ["fails", [], 1, /^npm run/],
  ["is left out", ["--if-built"], 0, /^left out: npm run/],
])("%s in one line with %j", async (_what, args, code, start) => {
  const ended = await run(...args);
  expect(ended).toEqual({ code, output: expect.stringMatching(LINE) });
  expect(ended.output).toMatch(start);
  expect(ended.output.split("\n")).toHaveLength(2);
});

it("names an option that it cannot read", async () => {
  const { code, output } = await run("--jobs", "many");
  expect({ code, first: output.split("\n")[0] }).toEqual({
    code: 1,
    first: "--jobs many is not a number of 1 or more",
  });
});

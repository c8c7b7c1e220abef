import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-gpu-prove-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Runs the script with programs of this folder alone, so that no machine has a GPU to it. */
const run = (...args: string[]) =>
  new Promise<{ code: number | string | undefined; stdout: string }>((resolve) => {
    const env = { PATH: folder, HOME: folder, TEMPERA_PYTHON: join(folder, "python") };
    const script = join(import.meta.dirname, "gpu-prove.mjs");
    execFile(process.execPath, [script, ...args], { env }, (error, stdout) =>
      resolve({ code: error?.code ?? 0, stdout }),
    );
  });

it("says in one line that there is no GPU", async () => {
  expect(await run()).toEqual({
    code: 0,
    stdout: expect.stringMatching(/^gpu:prove: nvidia-smi finds no GPU, so nothing was measured; .*\n$/),
  });
});

it("measures with the Python that is named, and ends as it does", async () => {
  const python = '#!/bin/sh\necho "$@" in "$PYTHONPATH"\nexit 3\n';
  await writeFile(join(folder, "python"), python, { mode: 0o755 });
  const engines = join(import.meta.dirname, "../engines/python");
  const out = join(import.meta.dirname, "../.tempera/gpu-prove");
  expect(await run("wan", "--small")).toEqual({
    code: 3,
    stdout: `-m gpu_prove --out ${out} wan --small in ${engines}:${join(engines, "tests")}\n`,
  });
  // A GPU that nvidia-smi finds, or a device that is named.
  await writeFile(join(folder, "nvidia-smi"), "#!/bin/sh\nexit 0\n", { mode: 0o755 });
  expect((await run()).code).toBe(3);
  await rm(join(folder, "nvidia-smi"));
  expect((await run("--device", "mps")).code).toBe(3);
});

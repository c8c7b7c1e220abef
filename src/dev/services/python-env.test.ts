import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pythonEnv } from "./python-env.ts";

describe("an unusable Python", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "python-env-"));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const pythonOf = async (version: string): Promise<string> => {
    const program = join(folder, version);
    await writeFile(program, `#!/bin/sh\necho Python ${version}\n`, { mode: 0o755 });
    return program;
  };
  const install = (python: string) =>
    pythonEnv(["nothing==1"], {
      log: () => {},
      env: { ...process.env, PYTHON: python, TEMPERA_CACHE: folder },
      atLeast: [3, 11],
    });

  it.each(["3.9.2", "3.10.14", "2.7.18"])(
    "%s is refused by name, before anything is installed",
    async (version) => {
      const python = await pythonOf(version);
      await expect(install(python)).rejects.toMatchObject({
        code: "setup_failed",
        message: expect.stringContaining(`is Python ${version}; install Python 3.11 or newer with venv`),
      });
    },
  );

  it("names the remedy for a missing one", async () => {
    await expect(install("/no/such/python")).rejects.toMatchObject({
      code: "setup_failed",
      message: expect.stringContaining("install Python 3.11 or newer"),
    });
  });
});

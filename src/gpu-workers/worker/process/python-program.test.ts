import { spawnSync } from "node:child_process";
import { expect, it } from "vitest";
import { ENGINE_PROGRAMS, pythonProgram } from "./engine-programs.ts";

const start = (
  { command: [program, ...args] }: ReturnType<typeof pythonProgram>,
  env: Record<string, string>,
) =>
  spawnSync(program, [...args, "/tmp/socket"], {
    env: { PATH: process.env.PATH ?? "", ...env },
    encoding: "utf8",
  });

it("runs a module or a file on the Python that TEMPERA_PYTHON names", () => {
  // `echo` prints the command instead of running it, whatever is installed.
  expect(start(pythonProgram("some_module"), { TEMPERA_PYTHON: "echo" }).stdout).toBe(
    "-m some_module /tmp/socket\n",
  );
  expect(start(pythonProgram("/some/file.py"), { TEMPERA_PYTHON: "echo" }).stdout).toBe(
    "/some/file.py /tmp/socket\n",
  );
  expect(ENGINE_PROGRAMS.diffusers?.environment).toContain("TEMPERA_PYTHON");
});

it("reports a missing Python in one line with the remedy", () => {
  const { status, stderr } = start(pythonProgram("tempera_diffusers"), { TEMPERA_PYTHON: "/no/such/python" });
  expect(status).toBe(1);
  expect(stderr).toBe(
    "/no/such/python does not exist; install Python 3.11 or newer, or set TEMPERA_PYTHON to its path.\n",
  );
});

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadConfig } from "./load-config.ts";
import { showConfig } from "./show-config.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tempera-engines-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const load = (text: string, env: Record<string, string> = {}) => {
  const path = join(folder, "tempera.yaml");
  writeFileSync(path, text);
  return loadConfig({ TEMPERA_CONFIG: path, ...env }).engines.programs;
};

const GRADIENT = { command: "/opt/gradient/start", args: [], environment: [], readable: [], devices: [] };

it("reads engines by their names, with nothing but a command or with everything", () => {
  expect(load("engines: { programs: { gradient: { command: /opt/gradient/start } } }")).toEqual({
    gradient: GRADIENT,
  });
  const text = `
engines:
  programs:
    gradient:
      command: /opt/venv/bin/python
      args: [/opt/gradient/engine.py]
      environment: [HF_HOME, OMP_NUM_THREADS]
      isolation: required
      readable: [/opt/gradient]
      devices: [/dev/dri]
      runners: [gradient]
`;
  expect(load(text)).toEqual({
    gradient: {
      command: "/opt/venv/bin/python",
      args: ["/opt/gradient/engine.py"],
      environment: ["HF_HOME", "OMP_NUM_THREADS"],
      isolation: "required",
      readable: ["/opt/gradient"],
      devices: ["/dev/dri"],
      runners: ["gradient"],
    },
  });
});

it("reads them as JSON from the environment, and shows them", () => {
  const env = { TEMPERA_ENGINE_PROGRAMS: '{"gradient": {"command": "/opt/gradient/start"}}' };
  expect(load("", env)).toEqual({ gradient: GRADIENT });
  const shown = showConfig({ ...env, TEMPERA_CONFIG: folder }, []);
  expect(shown.find(({ setting }) => setting === "engines.programs")?.value).toEqual({ gradient: GRADIENT });
});

it("adds the engines of a file to those of a former one", () => {
  const engine = (name: string, command: string) =>
    `engines: { programs: { ${name}: { command: ${command} } } }`;
  writeFileSync(join(folder, "a.yaml"), engine("gradient", "/a"));
  writeFileSync(join(folder, "b.yaml"), engine("shout", "/b"));
  writeFileSync(join(folder, "c.yaml"), engine("shout", "/c"));
  const { programs } = loadConfig({ TEMPERA_CONFIG: folder }).engines;
  expect(Object.entries(programs ?? {}).map(([name, { command }]) => [name, command])).toEqual([
    ["gradient", "/a"],
    ["shout", "/c"],
  ]);
});

describe("a fault names the engine, its field and the remedy:", () => {
  const fault = (programs: string): string => {
    try {
      load(`engines: { programs: ${programs} }`);
    } catch (error) {
      const [, line = ""] = (error as Error).message.split("\n");
      return line.trim().replace(/^.*engines\.programs: /, "");
    }
    throw new Error("accepted");
  };

  it.each([
    [
      "{ gradient: { comand: /a, command: /a } }",
      'gradient has a field "comand", which does not exist; did you mean "command"?',
    ],
    ["{ gradient: { } }", 'gradient.command must be an absolute path (is "")'],
    ["{ gradient: { command: run.sh } }", 'gradient.command must be an absolute path (is "run.sh")'],
    ["{ onnx: { command: /a } }", "onnx is the name of a built-in engine; choose another one"],
    ["{ 'My engine': { command: /a } }", "My engine is no name for an engine; use a-z, 0-9, - and _"],
    [
      "{ gradient: { command: /a, args: [--port, 80] } }",
      "gradient.args.1 must be a list of arguments; put each in quotes",
    ],
    [
      "{ gradient: { command: /a, environment: [API_KEY] } }",
      "gradient.environment must not name API_KEY: " +
        "engines run other people's code, and get no keys and addresses",
    ],
    [
      "{ gradient: { command: /a, isolation: none } }",
      "gradient.isolation must be required, best-effort or off",
    ],
    [
      "{ gradient: { command: /a, readable: [/srv/..] } }",
      "gradient.readable.0 must not be the root folder, which would open everything",
    ],
    [
      "{ gradient: { command: /a, devices: [/dev/../etc] } }",
      "gradient.devices.0 must be a device file below /dev",
    ],
    [
      "{ gradient: /a }",
      "gradient must be a mapping with command, args, environment, isolation, readable, devices, runners",
    ],
    ["[gradient]", "must be a mapping of engines by their names"],
  ])("%s", (programs, message) => expect(fault(programs)).toBe(message));

  it("all of them together", () =>
    expect(fault("{ stub: { command: /a }, a: { command: b } }")).toBe(
      "stub is the name of a built-in engine; choose another one; " +
        'a.command must be an absolute path (is "b")',
    ));
});

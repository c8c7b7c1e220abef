import { spawnSync } from "node:child_process";
import { afterEach, describe, expect, it, vi } from "vitest";
import { topKeys } from "../../tests/setup/json-keys.ts";
import { refusalText } from "./process-output.ts";

/** Runs a program whose output is captured, and reads its lines. */
function run(source: string): { status: number | null; lines: Record<string, unknown>[]; stdout: string } {
  const begin = `
    import { createLogger } from "./src/config/logger.ts";
    import { captureOutput } from "./src/bin/process-output.ts";
    const log = createLogger({ level: "info", format: "json" }, "test");
    captureOutput(log);
  `;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["--import", "tsx", "--input-type=module", "--eval", begin + source],
    { encoding: "utf8" },
  );
  const lines = stderr.trimEnd().split("\n");
  for (const line of lines) expect(new Set(topKeys(line)).size).toBe(topKeys(line).length);
  return { status, stdout, lines: lines.map((line) => JSON.parse(line)) };
}

it("logs the console, Node's warnings, and what is held of repeated warnings at the end", () => {
  const { status, lines, stdout } = run(`
    console.log("a %s\\nof a library", "line");
    console.error("[library] Unhandled error event:", new Error("away"));
    process.emitWarning("old", { type: "DeprecationWarning", code: "DEP1" });
    log.warn({}, "again");
    log.warn({}, "again");
  `);
  expect(status).toBe(0);
  expect(stdout).toBe("");
  expect(lines).toEqual([
    expect.objectContaining({ level: "info", message: "a line\nof a library" }),
    expect.objectContaining({ level: "warn", message: expect.stringMatching(/event: Error: away\n/) }),
    expect.objectContaining({ level: "warn", message: "again" }),
    expect.objectContaining({ level: "warn", message: "DeprecationWarning: old", code: "DEP1" }),
    expect.objectContaining({ level: "warn", message: expect.stringMatching(/^again \(once more in/) }),
  ]);
});

it.each([
  ["an exception", "uncaughtException", 'setImmediate(() => { throw new Error("lost"); });'],
  ["a rejection", "unhandledRejection", 'void Promise.reject(new Error("lost"));'],
])("logs %s that nobody caught, and exits with 1", (_, origin, source) => {
  const { status, lines } = run(`${source} setInterval(() => {}, 1000);`);
  expect(status).toBe(1);
  expect(lines).toEqual([
    expect.objectContaining({ level: "error", origin, err: expect.objectContaining({ message: "lost" }) }),
  ]);
});

describe("a start that is refused", () => {
  const reason = new Error("postgres://a:b@db is away\nsecond \u001b[31mline");
  const mask = (text: string): string => text.replace(":b@", ":***@");
  afterEach(() => vi.unstubAllEnvs());

  it("is one line of JSON, with its role and without secrets", () => {
    const text = refusalText(reason, { role: "gateway", format: "json", mask });
    expect(text.match(/\n/g)).toHaveLength(1);
    expect(JSON.parse(text)).toMatchObject({
      level: "error",
      role: "gateway",
      message: "postgres://a:***@db is away\nsecond \u001b[31mline",
    });
  });

  it("is for a person a line that begins with tempera, and indented lines", () =>
    expect(refusalText(reason, { format: "text", mask })).toBe(
      "tempera: postgres://a:***@db is away\n  second \\u001b[31mline\n",
    ));

  it("has the format of the variable before the configuration is read", () => {
    vi.stubEnv("TEMPERA_LOG_FORMAT", "text");
    expect(refusalText("no")).toBe("tempera: no\n");
    vi.stubEnv("TEMPERA_LOG_FORMAT", "json");
    expect(JSON.parse(refusalText("no"))).toMatchObject({ message: "no" });
  });

  it("has the format of a configuration that has other faults", () => {
    const error = Object.assign(new Error("no"), { logFormat: "text" });
    expect(refusalText(error)).toBe("tempera: no\n");
  });
});

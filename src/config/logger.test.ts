import { describe, expect, it, vi } from "vitest";
import { topKeys } from "../../tests/setup/json-keys.ts";
import { loadConfig } from "./load-config.ts";
import { createLogger, type LogFormat, type Logger, logFormat } from "./logger.ts";
import { createMask } from "./masked.ts";

const PASSWORD = 'p"ss:w/rd-hunter2';
const config = loadConfig({
  DATABASE_URL: `postgres://tempera:${encodeURIComponent(PASSWORD)}@db:5432/tempera`,
  S3_SECRET_KEY: "s3-secret-hunter2",
  TEMPERA_ADMIN_KEY: `6f1c2b3a-0000-4000-8000-00000000000a:${"admin-hunter2".padEnd(16, "x")}`,
  TEMPERA_PAYLOAD_KEYS:
    `one:${Buffer.alloc(32, "hunter2").toString("base64")},` +
    `two:${Buffer.alloc(32, "hunter3").toString("base64")}`,
  TEMPERA_KEY_PEPPER: "new-pepper-hunter2,old-pepper-hunter2",
});

type Level = "debug" | "info" | "error";

/** Makes a log whose lines are collected. */
function collect(
  format: LogFormat,
  { level = "info", mask }: { level?: Level; mask?: (text: string) => string } = {},
): { log: Logger; lines: string[] } {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  return { log: createLogger({ level, format }, "test", { ...(mask && { mask }), write }), lines };
}

it.each(["text", "json"] as const)("masks secrets in every sentence and field of a line in %s", (format) => {
  const { log, lines } = collect(format, { level: "debug", mask: createMask(config) });
  const url = config.postgres.url ?? "";
  log.error({ err: new Error(`connect to ${url} failed, password ${PASSWORD}`) }, `cannot use ${url}`);
  log.info(
    { headers: { authorization: "Key hunter2-of-somebody" }, key_secret: "hunter2" },
    "s3-secret-hunter2",
  );
  log.info({ a: { deep: [{ password: "hunter2", secretKey: "hunter2" }] } }, "deep");
  log.warn(
    { given: `Key 00000000-0000-4000-8000-00000000000b:${"hunter2".repeat(3)}` },
    "old-pepper-hunter2, new-pepper-hunter2",
  );
  log.warn({ keys: config.temporal.payloadKeys, admin: config.keys.admin }, "keys");
  log.info(
    {
      one: Buffer.alloc(32, "hunter2").toString("base64"),
      two: Buffer.alloc(32, "hunter3").toString("base64"),
    },
    "parts",
  );
  const written = lines.join("");
  expect(written).not.toMatch(/hunter|aHVudGVy/);
  expect(written).toContain("00000000-0000-4000-8000-00000000000b:***");
  expect(lines).toHaveLength(6);
});

it("survives a password of digits that occurs in a time, and masks a password in a query", () => {
  const mask = createMask(
    loadConfig({ DATABASE_URL: "postgres://tempera@db/tempera?password=hunter2-in-the-query" }),
  );
  const { log, lines } = collect("text", {
    level: "debug",
    // Every time contains such a number.
    mask: (line) => mask(line).replaceAll(/[0-9]{6}/g, "***"),
  });
  log.info({ given: "123456" }, "opened with hunter2-in-the-query");
  expect(lines.join("")).toMatch(/opened with \*\*\* given=\*\*\*\n$/);
});

describe("a line of JSON", () => {
  it("has time, level, role, pid, hostname, its fields and the message, each once", () => {
    const { log, lines } = collect("json");
    log.info(
      { endpoint: "tempera/stub", level: 3, time: 4, role: "x", pid: 5, hostname: "h", message: "m" },
      "y",
    );
    const [line = ""] = lines;
    expect(topKeys(line)).toEqual([
      ...["level", "time", "role", "pid", "hostname", "endpoint"],
      ...["level_", "time_", "role_", "pid_", "hostname_", "message_", "message"],
    ]);
    expect(JSON.parse(line)).toMatchObject({ level: "info", role: "test", pid: process.pid, message: "y" });
    expect(JSON.parse(line).time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  });

  it("shows an error as what it is, with its causes, and nothing that a driver adds", () => {
    const { log, lines } = collect("json");
    const cause = Object.assign(new Error("connect ECONNREFUSED"), {
      code: "ECONNREFUSED",
      command: { name: "auth", args: ["default", "hunter2"] },
    });
    const error = Object.assign(new Error("Redis is away", { cause }), cause);
    log.error({ err: error }, "x");
    const { err } = JSON.parse(lines[0] ?? "");
    expect(err).toEqual({
      type: "Error",
      message: "Redis is away: connect ECONNREFUSED",
      code: "ECONNREFUSED",
      stack: expect.stringMatching(/Redis is away\n[\s\S]*\ncaused by: Error: connect ECONNREFUSED\n/),
    });
  });

  it("is bounded, whatever is logged", () => {
    const { log, lines } = collect("json");
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    const own = new Error("own cause");
    own.cause = own;
    log.info(
      { circle, text: "x".repeat(1e6), list: Array(1e5).fill("y"), big: 1n, err: own },
      "z".repeat(1e6),
    );
    expect(lines[0]?.length).toBeLessThan(40_000);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({ big: "1" });
  });

  it.each([
    ["the cut", 8_000, ""],
    ["the end of what is masked", 9_000, `"password":"${"z".repeat(1_500)}"`],
  ])("shows no part of a secret that stands at %s", (_, end, before) => {
    const { log, lines } = collect("json", { mask: createMask(config) });
    const start = '"password":"hunter2h';
    const filling = "x".repeat(end - start.length - before.length);
    log.info({ text: `${before}${filling}${start}unter2hunter2"${"y".repeat(500)}` }, "x");
    expect(lines[0]).toMatch(/… \(\d+ more characters\)/);
    expect(lines[0]).not.toContain("hunter2");
  });

  it("can be masked, also when it is nothing but backslashes, dots or quotes", () => {
    const { log, lines } = collect("json", { mask: createMask(config) });
    for (const part of ["\\", "a.", "a-", '"', '\\"password', "x://", "?a", "=", "authorization "])
      log.info({ text: part.repeat(1e5) }, "x");
    expect(lines).toHaveLength(9);
  });
});

const FORGED =
  "PATCH /rest/workflows/a\n12:00:00.000 ERROR all is lost\r\u001b[31m\u009b2J\u2028\u202e/y\u0000";

describe.each(["text", "json"] as const)("in %s no value can forge a line or steer a terminal", (format) => {
  it.each([
    ["a message", (log: Logger) => log.info({}, FORGED)],
    ["a field", (log: Logger) => log.info({ path: FORGED }, "x")],
    ["the name of a field", (log: Logger) => log.info({ [FORGED]: 1, deep: { [FORGED]: 1 } }, "x")],
    ["an error", (log: Logger) => log.error({ err: new Error(FORGED) }, "x")],
    ["the code of an error", (log: Logger) => log.error({ err: { code: FORGED, message: "" } }, "x")],
  ])("in %s", (_, write) => {
    const { log, lines } = collect(format);
    write(log);
    expect(lines).toHaveLength(1);
    const [first = "", ...more] = (lines[0] ?? "").trimEnd().split("\n");
    expect(first).toContain(String.raw`a\n12:00:00.000 ERROR all is lost\r`);
    // A stack is the only thing of several lines, and those are indented.
    for (const line of more) expect(line).toMatch(/^ {4}\S/);
    expect(lines[0]?.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u);
  });
});

it("quotes values in text that could be read as more than one", () => {
  const { log, lines } = collect("text");
  log.info({ path: "/a b=c", endpoint: "tempera/stub" }, "x");
  expect(lines[0]).toMatch(/ info {2}x path="\/a b=c" endpoint=tempera\/stub\n$/);
});

describe("repeated warnings", () => {
  it("are gathered, and told at the end", () => {
    const { log, lines } = collect("json");
    for (let index = 0; index < 100; index++) log.warn({ requestId: index }, `try ${index} failed`);
    expect(lines).toHaveLength(1);
    log.flush();
    expect(JSON.parse(lines[1] ?? "")).toMatchObject({ level: "warn", times: 99, requestId: 99 });
  });

  it("are all written when debug is logged, and none when warnings are not", () => {
    const { log, lines } = collect("json", { level: "debug" });
    for (let index = 0; index < 3; index++) log.warn({}, "again");
    expect(lines).toHaveLength(3);
    log.level = "error";
    log.warn({}, "again");
    log.flush();
    expect(lines).toHaveLength(3);
  });

  it("are not errors: each of those is written", () => {
    const { log, lines } = collect("json");
    for (let index = 0; index < 3; index++) log.error({}, "again");
    expect(lines).toHaveLength(3);
  });
});

it("is text at a terminal and JSON elsewhere, unless a format is set", () => {
  const terminal = vi.spyOn(process, "stderr", "get");
  for (const [isTTY, format] of [
    [true, "text"],
    [false, "json"],
  ] as const) {
    terminal.mockReturnValue({ isTTY } as typeof process.stderr);
    expect(logFormat(undefined)).toBe(format);
    expect(logFormat("text")).toBe("text");
    expect(logFormat("json")).toBe("json");
  }
  terminal.mockRestore();
});

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { RepeatedWarnings } from "./repeated-warnings.ts";

const MINUTE_MS = 60_000;

let nowMs = 0;
let lines: string[] = [];
let fieldsOf: object[] = [];
let warnings: RepeatedWarnings;

beforeEach(() => {
  vi.useFakeTimers(); // the interval is not waited for: the tests call what it calls
  nowMs = 0;
  lines = [];
  fieldsOf = [];
  warnings = new RepeatedWarnings({
    clock: { nowMs: () => nowMs },
    write: (fields, message) => {
      lines.push(message);
      fieldsOf.push(fields);
    },
  });
});
afterEach(() => void vi.useRealTimers());

function warn(count: number, message: (index: number) => string, fields: object = {}): void {
  for (let index = 0; index < count; index++) warnings.warn(fields, message(index));
}
const retried = (index: number): string => `gRPC call poll_workflow_task_queue retried ${index + 5} times`;

it("writes a warning once, then each minute with the times it came again", () => {
  warn(5_518, retried);
  expect(lines).toEqual([retried(0)]);
  nowMs = MINUTE_MS;
  warnings.reportDue();
  expect(lines[1]).toBe(`${retried(5_517)} (5,517 more times in 60 s)`);
  expect(fieldsOf[1]).toEqual({ times: 5_517, durationMs: MINUTE_MS });
  warn(1, retried);
  nowMs = 2 * MINUTE_MS;
  warnings.reportDue();
  expect(lines[2]).toBe(`${retried(0)} (once more in 60 s)`);
  expect(lines).toHaveLength(3);
});

it("does not report on a warning that has just begun", () => {
  warn(2, retried);
  nowMs = MINUTE_MS - 1;
  warn(2, () => "the event log did not take the submit");
  nowMs = MINUTE_MS;
  warnings.reportDue();
  expect(lines).toHaveLength(3);
  nowMs = 14 * MINUTE_MS;
  warnings.reportDue();
  expect(lines[3]).toBe("the event log did not take the submit (once more in 13 min)");
});

it("reports when its timer is early", () => {
  warn(2, retried);
  nowMs = MINUTE_MS - 1;
  warnings.reportDue();
  expect(lines).toHaveLength(2);
});

it("writes a warning anew when it did not come for a minute", () => {
  warn(1, retried);
  nowMs = MINUTE_MS;
  warnings.reportDue();
  warn(1, retried);
  expect(lines).toEqual([retried(0), retried(0)]);
});

describe("warnings are one", () => {
  const id = (index: number): string => `6f1c2b3a-0000-4000-8000-${String(index).padStart(12, "0")}`;

  it("when they differ in the ids of requests", () => {
    for (let index = 0; index < 3; index++)
      warnings.warn(
        { requestId: id(index), err: { code: "store_unavailable", message: "away" } },
        "not stored",
      );
    expect(lines).toEqual(["not stored"]);
  });

  it("and the report has the fields of the last", () => {
    for (let index = 0; index < 3; index++) warnings.warn({ requestId: id(index) }, "not stored");
    warnings.flush();
    expect(fieldsOf.at(-1)).toMatchObject({ requestId: id(2), times: 2 });
  });

  it("but not when their errors differ", () => {
    for (const message of ["away", "full"])
      warnings.warn({ err: { code: "store_unavailable", message } }, "x");
    expect(lines).toHaveLength(2);
  });

  it("nor when their models differ", () => {
    for (const endpoint of ["a/b", "a/c"]) warnings.warn({ endpoint }, "unhealthy");
    expect(lines).toHaveLength(2);
  });

  it("nor when nothing but a digit tells their models or codes apart", () => {
    for (const version of ["1.0.0", "2.0.0"]) warnings.warn({ endpoint: "a/b", version }, "unhealthy");
    for (const code of ["57P01", "57P03"]) warnings.warn({ err: { code, message: "away" } }, "x");
    expect(lines).toHaveLength(4);
  });

  it("nor when their codes or reasons differ", () => {
    for (const code of ["runner_disconnected", "internal_error"]) warnings.warn({ code }, "unhealthy");
    for (const reason of ["out of memory", "no such file"]) warnings.warn({ reason }, "unhealthy");
    expect(lines).toHaveLength(4);
  });

  it("nor when each tells how a job ended", () => {
    for (let index = 0; index < 3; index++)
      warnings.warn(
        { requestId: id(index), endpoint: "a/b", code: "internal_error", outcome: "dead letter" },
        "used up",
      );
    expect(fieldsOf).toMatchObject([0, 1, 2].map((index) => ({ requestId: id(index) })));
  });
});

it("holds a bounded number of warnings, and reports the one that makes room", () => {
  warn(2, () => "first");
  const word = (index: number): string => String.fromCodePoint(0x4e00 + index);
  warn(1_000, word);
  expect(lines.filter((line) => line.startsWith("first"))).toEqual(["first", "first (once more in 0 s)"]);
  expect(lines).toHaveLength(1_002);
  warn(200, (index) => word(index + 800));
  expect(lines).toHaveLength(1_002);
  warn(1, () => word(0));
  expect(lines.slice(1_002).toSorted()).toEqual([word(0), `${word(800)} (once more in 0 s)`]);
});

it("reports what is held at the end of the process", () => {
  warn(3, retried);
  nowMs = 5_000;
  warnings.flush();
  expect(lines).toEqual([retried(0), `${retried(2)} (2 more times in 5 s)`]);
  warnings.flush();
  expect(lines).toHaveLength(2);
});

it("keeps no timer while it holds nothing", () => {
  expect(vi.getTimerCount()).toBe(0);
  warn(1, retried);
  expect(vi.getTimerCount()).toBe(1);
  nowMs = MINUTE_MS;
  warnings.reportDue();
  expect(vi.getTimerCount()).toBe(0);
});

import { ApplicationFailure } from "@temporalio/common";
import { describe, expect, it } from "vitest";
import type { Log } from "../../../core/operations/log.ts";
import { logFromSdk } from "./sdk-log.ts";

function logged(entry: Parameters<typeof logFromSdk>[1]): [string, object, string][] {
  const lines: [string, object, string][] = [];
  const write = (level: string) => (fields: object, message: string) =>
    void lines.push([level, fields, message]);
  const log: Log = { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };
  logFromSdk(log, entry);
  return lines;
}

const failure = (type: string, details: unknown[] = []) =>
  ApplicationFailure.create({ type, message: "why", nonRetryable: true, details });

const attempt = (error: unknown) =>
  logged({
    level: "WARN",
    message: "Activity failed",
    meta: { workflowId: "r1", activityType: "infer", attempt: 2, taskQueue: "gpu/x", durationMs: 7, error },
  });

describe("an ordinary outcome is told at info", () => {
  it.each([
    ["input_invalid", "a 422 of the engine"],
    ["file_too_large", "a fault of the input"],
    ["request_timeout", "a request that ran too long"],
    ["startup_timeout", "a deadline of the caller"],
    ["client_cancelled", "a cancel"],
  ])("%s: %s", (code) =>
    expect(attempt(failure(code))).toEqual([
      [
        "info",
        {
          ...{ requestId: "r1", activityType: "infer", attempt: 2, durationMs: 7, taskQueue: "gpu/x" },
          ...{ outcome: "failed", code, reason: "why" },
        },
        "an attempt failed",
      ],
    ]),
  );

  it("an attempt that a stopping worker hands over", () => {
    const [[level, fields] = []] = attempt(
      failure("runner_disconnected", [{}, 2, { handedOver: true, started: true }]),
    );
    expect([level, fields]).toMatchObject(["info", { outcome: "handed over" }]);
  });

  it("but not an attempt that was given up after its job had waited for a store", () =>
    expect(attempt(failure("store_unavailable", [{}, 3, { exhausted: true }]))).toMatchObject([
      ["warn", { err: expect.any(Error) }, "temporal: Activity failed"],
    ]));

  it.each([
    ["inferenceJob", "debug"], // its finish step tells it
    ["webhookDelivery", "info"],
    ["retention", "warn"],
  ])("the failed close of %s at %s", (workflowType, level) =>
    expect(
      logged({ level: "WARN", message: "Workflow failed", meta: { workflowType, error: new Error("why") } }),
    ).toMatchObject([[level, { workflowType }, "temporal: Workflow failed"]]),
  );
});

describe("what an operator should look at is a warning", () => {
  it.each(["internal_error", "runner_disconnected", "runner_server_error", "internal_server_error", "Error"])(
    "%s",
    (code) =>
      expect(attempt(failure(code))).toMatchObject([
        ["warn", { requestId: "r1", err: { message: "why" } }, "temporal: Activity failed"],
      ]),
  );

  it("another line of the SDK, with an error of the same kind", () =>
    expect(
      logged({
        level: "WARN",
        message: "gRPC call retried 7 times",
        meta: { error: failure("input_invalid") },
      }),
    ).toMatchObject([["warn", {}, "temporal: gRPC call retried 7 times"]]));

  it("and a call that is retried, however often", () => {
    const message = "gRPC call poll_activity_task_queue retried 32 times";
    expect(logged({ level: "ERROR", message, meta: {} })).toMatchObject([
      ["warn", {}, `temporal: ${message}`],
    ]);
  });

  it("and an error an error", () =>
    expect(logged({ level: "ERROR", message: "x", meta: {} })).toMatchObject([["error", {}, "temporal: x"]]));
});

import { describe, expect, it } from "vitest";
import { LIMITS } from "../core/limits.ts";
import type { LoggedEvent } from "../core/requests/events.ts";
import {
  requestUrls,
  type StatusView,
  statusBody,
  statusCode,
  submitBody,
  submitOptions,
  wantsLogs,
} from "./queue.ts";

const BASE = "http://localhost:8080/queue";
const ID = "019a1b2c-0000-7000-8000-000000000000";
const URLS = {
  response_url: `${BASE}/fal-ai/wan/requests/${ID}`,
  status_url: `${BASE}/fal-ai/wan/requests/${ID}/status`,
  cancel_url: `${BASE}/fal-ai/wan/requests/${ID}/cancel`,
};
const view = (fields: Partial<StatusView>): StatusView => ({
  requestId: ID,
  endpoint: "fal-ai/wan/v2.2-a14b/text-to-video",
  state: "IN_QUEUE",
  position: 0,
  metrics: {},
  ...fields,
});
const line = (message: string): LoggedEvent => ({
  id: "5-0",
  atMs: 5,
  event: { type: "log", attempt: 1, level: "WARN", message },
});

describe("the answer to a submit", () => {
  it("has all nine fields that fal's clients read", () =>
    expect(submitBody(BASE, view({}), 3)).toEqual({
      status: "IN_QUEUE",
      request_id: ID,
      gateway_request_id: ID,
      ...URLS,
      queue_position: 3,
      logs: null,
      metrics: {},
    }));

  it("has addresses in the short form, with three segments for a namespace", () =>
    expect(requestUrls(BASE, { endpoint: "workflows/u/n/extra/p", requestId: ID }).response_url).toBe(
      `${BASE}/workflows/u/n/requests/${ID}`,
    ));
});

describe("the answer to a status call", () => {
  it("IN_QUEUE: 202 with its position", () => {
    expect(statusBody(BASE, view({ position: 0 }))).toEqual({
      status: "IN_QUEUE",
      request_id: ID,
      ...URLS,
      queue_position: 0,
      logs: null,
      metrics: {},
    });
    expect(statusCode("IN_QUEUE")).toBe(202);
  });

  it("IN_PROGRESS: 202, without a position, with its steps", () => {
    const progress = { step: 3, steps: 30, remainingMs: 12_345 };
    expect(statusBody(BASE, view({ state: "IN_PROGRESS", progress }))).toEqual({
      status: "IN_PROGRESS",
      request_id: ID,
      ...URLS,
      logs: null,
      metrics: {},
      progress: { step: 3, steps: 30, remaining_seconds: 12.3 },
    });
    expect(statusCode("IN_PROGRESS")).toBe(202);
  });

  it("COMPLETED: 200 with its times", () => {
    expect(
      statusBody(
        BASE,
        view({ state: "COMPLETED", metrics: { inference_time: 1.5 }, progress: { step: 30, steps: 30 } }),
      ),
    ).toEqual({
      status: "COMPLETED",
      request_id: ID,
      ...URLS,
      logs: null,
      metrics: { inference_time: 1.5 },
    });
    expect(statusCode("COMPLETED")).toBe(200);
  });

  it("a failure is COMPLETED with an error, never another state", () => {
    const error = { code: "runner_disconnected", message: "The runner went away." } as const;
    expect(statusBody(BASE, view({ state: "COMPLETED", error }))).toMatchObject({
      status: "COMPLETED",
      error: "The runner went away.",
      error_type: "runner_disconnected",
    });
    const invalid = { code: "input_invalid", message: "…", faults: [] } as const;
    expect(statusBody(BASE, view({ state: "COMPLETED", error: { ...invalid, faults: [] } }))).toMatchObject({
      error: "Invalid status code: 422",
    });
  });

  it("does not show the reason of a retry as the request's error", () =>
    expect(
      statusBody(BASE, view({ state: "IN_QUEUE", error: { code: "runner_disconnected", message: "gone" } })),
    ).not.toHaveProperty("error"));

  it("has null logs unless they are requested, and then a list of lines only", () => {
    const events: LoggedEvent[] = [
      { id: "1-0", atMs: 1, event: { type: "queued", attempt: 0 } },
      line("hello"),
    ];
    expect(statusBody(BASE, view({})).logs).toBeNull();
    expect(statusBody(BASE, view({ logs: [] })).logs).toEqual([]);
    expect(statusBody(BASE, view({ logs: events })).logs).toEqual([
      {
        timestamp: "1970-01-01T00:00:00.005000Z",
        message: "hello",
        level: "WARN",
        source: "USER",
        labels: { level: "WARN", source: "USER" },
      },
    ]);
  });

  it("gives each line of a millisecond its own time, by which clients distinguish them", () => {
    const lines = [line("a"), { ...line("a"), id: "5-1" }, { ...line("a"), id: "6-0" }];
    const stamps = (statusBody(BASE, view({ logs: lines })).logs as { timestamp: string }[]).map(
      ({ timestamp }) => timestamp,
    );
    expect(stamps).toEqual([
      "1970-01-01T00:00:00.005000Z",
      "1970-01-01T00:00:00.005001Z",
      "1970-01-01T00:00:00.006000Z",
    ]);
  });

  it.each([
    ["1", true],
    ["true", true],
    ["True", true],
    ["0", false],
    ["false", false],
    ["", false],
    ["yes", false],
    [undefined, false],
  ])("?logs=%s → %s", (value, wanted) => expect(wantsLogs(value)).toBe(wanted));
});

describe("the headers of a submit", () => {
  const read = (headers: Record<string, string>) => submitOptions((name) => headers[name]);

  it("have defaults", () => expect(read({})).toEqual({ priority: "normal", noRetry: false }));

  it.each([
    ["low", "low"],
    ["LOW", "low"],
    ["normal", "normal"],
    ["high", "normal"],
    ["", "normal"],
    ["constructor", "normal"],
  ])("priority %j → %s", (value, priority) =>
    expect(read({ "x-fal-queue-priority": value }).priority).toBe(priority),
  );

  it.each([
    ["30", 30_000],
    ["30.0", 30_000],
    [" 30 ", 30_000],
    ["0.5", 500],
    ["0.1", LIMITS.startTimeoutMsMin],
    [String(LIMITS.startTimeoutMsMax / 1000), LIMITS.startTimeoutMsMax],
  ])("start timeout %j → %i ms", (value, ms) => {
    expect(read({ "x-fal-request-timeout": value }).startTimeoutMs).toBe(ms);
    expect(read({ "x-fal-request-start-timeout": value }).startTimeoutMs).toBe(ms);
  });

  it.each([
    "",
    "abc",
    "30s",
    "30 seconds",
    "-5",
    "0",
    "0.05",
    "NaN",
    "Infinity",
    "1e99",
    "0x1F",
    "30,0",
    "9".repeat(400),
    "99999999",
    "3 0",
    "٣٠",
  ])("start timeout %j is ignored", (value) =>
    expect(read({ "x-fal-request-timeout": value })).not.toHaveProperty("startTimeoutMs"),
  );

  it("prefers the newer name of the timeout, unless its value cannot be read", () => {
    expect(read({ "x-fal-request-start-timeout": "5", "x-fal-request-timeout": "60" }).startTimeoutMs).toBe(
      5_000,
    );
    expect(
      read({ "x-fal-request-start-timeout": "soon", "x-fal-request-timeout": "60" }).startTimeoutMs,
    ).toBe(60_000);
  });

  it.each([
    ["1", true],
    ["true", true],
    ["YES", true],
    ["0", false],
    ["false", false],
    ["", false],
    ["2", false],
  ])("no retry %j → %s", (value, noRetry) => expect(read({ "x-fal-no-retry": value }).noRetry).toBe(noRetry));

  it.each([
    ["0", false],
    [" FALSE ", false],
    ["no", false],
    ["1", undefined],
    ["", undefined],
    ["00", undefined],
  ])("store IO %j → %s", (value, storeIo) => expect(read({ "x-fal-store-io": value }).storeIo).toBe(storeIo));
});

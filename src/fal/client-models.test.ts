/**
 * The models into which fal's clients for Java, Kotlin, Swift and Dart decode the queue's answers, as far as
 * they require a field. A client fails where one is missing or has another type, so every answer must fit all
 * of them. The JavaScript and Python clients pass answers on as they are.
 */
import { describe, expect, it } from "vitest";
import { z } from "zod";
import type { LoggedEvent, LogLevel } from "../core/requests/events.ts";
import type { RequestState } from "../core/requests/request.ts";
import { falError } from "./errors.ts";
import { type StatusView, statusBody, submitBody } from "./queue.ts";

const LEVEL = z.enum(["STDERR", "STDOUT", "ERROR", "INFO", "WARN", "DEBUG"]);

/** `ai.fal.client.type.RequestLog`; Kotlin uses the same. `getLevel()` reads `labels.level`. */
const JAVA_LOG = z.object({
  message: z.string(),
  timestamp: z.string(),
  labels: z.object({ level: LEVEL, source: z.string() }),
});
/** `ai.fal.client.queue.QueueStatus`: the class is chosen by `status`, and all getters are `@Nonnull`. */
const JAVA_BASE = {
  request_id: z.string(),
  status_url: z.string(),
  response_url: z.string(),
  cancel_url: z.string(),
};
const JAVA_IN_QUEUE = z.object({ ...JAVA_BASE, status: z.literal("IN_QUEUE"), queue_position: z.int() });
const JAVA_STATUS = z.discriminatedUnion("status", [
  JAVA_IN_QUEUE,
  z.object({ ...JAVA_BASE, status: z.literal("IN_PROGRESS"), logs: z.array(JAVA_LOG).nullish() }),
  z.object({ ...JAVA_BASE, status: z.literal("COMPLETED"), logs: z.array(JAVA_LOG).nullish() }),
]);

/** `RequestLog` and `QueueStatus` of `fal-swift`: `logs` may be null, and not absent. */
const SWIFT_LOG = z.object({
  message: z.string(),
  timestamp: z.string(),
  labels: z.object({ level: LEVEL }),
});
const SWIFT_STATUS = z.discriminatedUnion("status", [
  z.object({ status: z.literal("IN_PROGRESS"), logs: z.array(SWIFT_LOG).nullable() }),
  z.object({ status: z.literal("IN_QUEUE"), queue_position: z.int(), response_url: z.string() }),
  z.object({
    status: z.literal("COMPLETED"),
    logs: z.array(SWIFT_LOG).nullable(),
    response_url: z.string(),
  }),
]);

/** `RequestLog` and `QueueStatus` of `fal-dart`: every status has a `response_url`. */
const DART_LOG = z.object({ message: z.string(), timestamp: z.string() });
const DART_STATUS = z.discriminatedUnion("status", [
  z.object({
    status: z.literal("IN_PROGRESS"),
    response_url: z.string(),
    logs: z.array(DART_LOG).nullish(),
  }),
  z.object({ status: z.literal("COMPLETED"), response_url: z.string(), logs: z.array(DART_LOG).nullish() }),
  z.object({ status: z.literal("IN_QUEUE"), response_url: z.string(), queue_position: z.int() }),
]);

const STATUS_MODELS = { java: JAVA_STATUS, swift: SWIFT_STATUS, dart: DART_STATUS };
const SUBMIT_MODELS = {
  java: JAVA_IN_QUEUE,
  swift: z.object({ request_id: z.string() }),
  dart: z.object({ request_id: z.string() }),
};

const REQUEST = { endpoint: "fal-ai/qwen-image", requestId: "019a1b2c-0000-7000-8000-000000000000" };
const BASE = "https://queue.fal.run";

const line = (level: LogLevel): LoggedEvent => ({
  id: "1-0",
  atMs: 1,
  event: { type: "log", attempt: 1, level, message: "a line" },
});
const LINES = (["DEBUG", "INFO", "WARN", "ERROR"] as const).map(line);

const STATES: [RequestState, Partial<StatusView>][] = [
  ["IN_QUEUE", {}],
  ["IN_PROGRESS", { progress: { step: 1, steps: 4 } }],
  ["COMPLETED", {}],
  ["COMPLETED", { error: { code: "runner_disconnected", message: "It went away." } }],
  ["COMPLETED", { error: { code: "input_invalid", message: "It does not fit." } }],
];

describe.each(Object.entries(STATUS_MODELS))("a status as the client for %s decodes it", (_, model) => {
  it.each(STATES)("%s %j", (state, fields) => {
    for (const logs of [undefined, [], LINES]) {
      const view = { ...REQUEST, state, position: 3, metrics: {}, ...fields, ...(logs && { logs }) };
      expect(() => model.parse(overTheWire(statusBody(BASE, view)))).not.toThrow();
    }
  });
});

it.each(Object.entries(SUBMIT_MODELS))("a submit's answer as the client for %s decodes it", (_, model) =>
  expect(() => model.parse(overTheWire(submitBody(BASE, REQUEST, 0)))).not.toThrow(),
);

it("an error is an object, and a list of faults has the message and type of each", () => {
  const faults = [{ loc: ["body", "prompt"], msg: "Field required", type: "missing" }];
  // Java's `ValidationError`, and Dart's `ValidationErrorInfo`.
  const fault = z.object({ msg: z.string(), type: z.string(), loc: z.array(z.union([z.string(), z.int()])) });
  for (const code of ["input_invalid", "idempotency_key_reused", "file_download_error"] as const)
    for (const error of [
      { code, message: "no" },
      { code, message: "no", faults },
    ]) {
      const { status, body } = falError(error);
      expect(status).toBe(422);
      expect(() => z.object({ detail: z.array(fault) }).parse(overTheWire(body))).not.toThrow();
    }
});

function overTheWire(body: object): unknown {
  return JSON.parse(JSON.stringify(body));
}

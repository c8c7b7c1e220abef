/**
 * The models into which fal's clients for Java, Kotlin, Swift and Dart decode the queue's answers, as far as
 * they require a field. A client fails where one is missing or has another type, so every answer must fit all
 * of them. The JavaScript and Python clients pass answers on as they are.
 */
import { describe, expect, it } from "vitest";
import { openDecoder } from "../../tests/conformance/clients/decoders.ts";
import type { LoggedEvent, LogLevel } from "../core/requests/events.ts";
import type { RequestState } from "../core/requests/request.ts";
import { falError } from "./errors.ts";
import { type StatusView, statusBody, submitBody } from "./queue.ts";

/** Kotlin's models are the classes of the Java client. */
const DECODERS = ["kotlin", "swift", "dart"].map((client) => ({ client, ...openDecoder(client) }));

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

describe.each(DECODERS)("a status as the client for $client decodes it", ({ decode }) => {
  it.each(STATES)("%s %j", (state, fields) => {
    for (const logs of [undefined, [], LINES]) {
      const view = { ...REQUEST, state, position: 3, metrics: {}, ...fields, ...(logs && { logs }) };
      expect(() => decode("status", overTheWire(statusBody(BASE, view)))).not.toThrow();
    }
  });
});

it.each(DECODERS)("a submit's answer as the client for $client decodes it", ({ decode }) =>
  expect(() => decode("submit", overTheWire(submitBody(BASE, REQUEST, 0)))).not.toThrow(),
);

it("an error is an object, and a list of faults has the message and type of each", () => {
  const faults = [{ loc: ["body", "prompt"], msg: "Field required", type: "missing" }];
  for (const code of ["input_invalid", "idempotency_key_reused", "file_download_error"] as const)
    for (const error of [
      { code, message: "no" },
      { code, message: "no", faults },
    ]) {
      const { status, body } = falError(error);
      expect(status).toBe(422);
      for (const { decode, models } of DECODERS)
        if (models.has("validationError"))
          expect(() => decode("validationError", overTheWire(body))).not.toThrow();
    }
});

function overTheWire(body: object): unknown {
  return JSON.parse(JSON.stringify(body));
}

it("an answer without what a client requires is noticed", () => {
  const body = overTheWire(statusBody(BASE, { ...REQUEST, state: "COMPLETED", position: 0, metrics: {} }));
  for (const { decode } of DECODERS) {
    const { response_url: _, ...rest } = body as { response_url: string };
    expect(() => decode("status", rest)).toThrow("response_url");
  }
});

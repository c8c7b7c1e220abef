import { Hono } from "hono";
import { HTTPException } from "hono/http-exception";
import { describe, expect, it } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { Log } from "../../core/operations/log.ts";
import type { QueueAction } from "../../fal/index.ts";
import { answerError } from "./answer-error.ts";

/** Answers an error, and returns the response and what was logged. */
async function answer(error: unknown, action?: QueueAction) {
  const logged: { fields: object; message: string }[] = [];
  const note = (fields: object, message: string): void => void logged.push({ fields, message });
  const log: Log = { debug: note, info: note, warn: note, error: note };
  const app = new Hono();
  app.get("/x", (c) => answerError(c, error, { log, ...(action && { action }) }));
  const response = await app.request("/x");
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as unknown,
    logged,
  };
}

describe("the answer to an error", () => {
  it("has fal's shape", async () => {
    const { status, body, headers, logged } = await answer(
      new TemperaError("runner_disconnected", "It went away."),
    );
    expect({ status, body }).toEqual({
      status: 503,
      body: { detail: "It went away.", error_type: "runner_disconnected" },
    });
    expect(headers.get("x-fal-error-type")).toBe("runner_disconnected");
    expect(headers.get("retry-after")).toBe("2");
    expect(logged).toEqual([]);
  });

  it.each(["status", "stream", "cancel"] as const)("has fal's word for the action %s", async (action) => {
    expect(await answer(new TemperaError("request_unknown"), action)).toMatchObject({
      status: 404,
      body: { status: "NOT_FOUND" },
    });
    expect(await answer(new TemperaError("request_finished"), action)).toMatchObject({
      status: 400,
      body: { status: "ALREADY_COMPLETED" },
    });
    expect(await answer(new TemperaError("key_unknown"), action)).toMatchObject({
      status: 401,
      body: { detail: "No user found for Key ID and Secret" },
    });
  });

  it("has a detail for other actions", async () => {
    for (const action of ["result", "submit", undefined] as const)
      expect(await answer(new TemperaError("request_unknown"), action)).toMatchObject({
        status: 404,
        body: { detail: "Request not found" },
      });
  });

  it("hides an unexpected error, and logs it whole", async () => {
    const error = new Error("connect ECONNREFUSED postgres://user:secret@host");
    const { status, body, logged } = await answer(error);
    expect({ status, body }).toEqual({ status: 500, body: { detail: "Internal Server Error" } });
    expect(logged).toEqual([
      { fields: { err: error, path: "/x", method: "GET" }, message: "unexpected error" },
    ]);
  });

  it.each([[undefined], [null], ["text"], [{ code: "ECONNRESET" }], [{ code: "__proto__" }]])(
    "is a 500 for whatever was thrown: %j",
    async (error) => expect((await answer(error)).status).toBe(500),
  );

  it("passes the framework's own responses on", async () => {
    const response = new Response(JSON.stringify({ detail: "teapot" }), { status: 418 });
    expect(await answer(new HTTPException(418, { res: response }))).toMatchObject({
      status: 418,
      body: { detail: "teapot" },
      logged: [],
    });
  });
});

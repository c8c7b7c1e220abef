import { describe, expect, it } from "vitest";
import { CATALOGUE } from "./catalogue.ts";
import { errorInfo, isTemperaError, TemperaError } from "./tempera-error.ts";

describe("a TemperaError", () => {
  it("has the message of the catalogue unless it is given one", () => {
    expect(new TemperaError("queue_full").message).toBe(CATALOGUE.queue_full.message);
    expect(new TemperaError("queue_full", "12 wait").message).toBe("12 wait");
  });

  it("is recognised by its code, whatever its class", () => {
    expect(isTemperaError({ code: "queue_full", message: "" })).toBe(true);
    for (const error of [
      new Error("x"),
      { code: "ECONNREFUSED" },
      { code: "toString" },
      { code: 5 },
      "queue_full",
      null,
      undefined,
    ])
      expect(isTemperaError(error)).toBe(false);
  });

  it("is stored with its faults and without its cause", () => {
    const faults = [{ loc: ["body", "prompt"], msg: "Field required", type: "missing" }];
    const error = new TemperaError("input_invalid", undefined, { faults, cause: new Error("secret") });
    expect(errorInfo(error)).toEqual({
      code: "input_invalid",
      message: CATALOGUE.input_invalid.message,
      faults,
    });
  });

  it("is made of any other error with the fallback code and its text", () => {
    expect(errorInfo(new Error("boom"))).toEqual({ code: "internal_error", message: "boom" });
    expect(errorInfo("boom", "runner_server_error")).toEqual({
      code: "runner_server_error",
      message: "boom",
    });
  });
});

import { describe, expect, it } from "vitest";
import { CATALOGUE } from "./catalogue.ts";
import { errorInfo, isTemperaError, TemperaError } from "./tempera-error.ts";

describe("errors", () => {
  it("say what the catalogue says unless they know better", () => {
    expect(new TemperaError("queue_full").message).toBe(CATALOGUE.queue_full.message);
    expect(new TemperaError("queue_full", "12 wait").message).toBe("12 wait");
  });

  it("are recognised by their code, whatever class they are of", () => {
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

  it("are stored with their faults and without their cause", () => {
    const faults = [{ loc: ["body", "prompt"], msg: "Field required", type: "missing" }];
    const error = new TemperaError("input_invalid", undefined, { faults, cause: new Error("secret") });
    expect(errorInfo(error)).toEqual({
      code: "input_invalid",
      message: CATALOGUE.input_invalid.message,
      faults,
    });
  });

  it("that are not of the catalogue become the fallback, their text kept", () => {
    expect(errorInfo(new Error("boom"))).toEqual({ code: "internal_error", message: "boom" });
    expect(errorInfo("boom", "runner_server_error")).toEqual({
      code: "runner_server_error",
      message: "boom",
    });
  });
});

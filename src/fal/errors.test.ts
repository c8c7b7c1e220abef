import { describe, expect, it } from "vitest";
import { CATALOGUE, type ErrorCode, type ErrorEntry } from "../core/errors/catalogue.ts";
import { falError } from "./errors.ts";

const ENTRIES = Object.entries(CATALOGUE) as [ErrorCode, ErrorEntry][];

describe("fal's answer to each error", () => {
  it.each(ENTRIES)("%s", (code, { kind, status, retryable }) => {
    const { body, headers, ...answer } = falError({ code, message: "A sentence." });
    expect(answer.status).toBe(status);
    expect(headers["retry-after"]).toBe(status === 429 || status === 503 ? "2" : undefined);
    for (const [name, value] of Object.entries(headers))
      expect(`${name}: ${value}`).toMatch(/^[a-z-]+: [\x20-\x7e]+$/);
    if (kind === "input" || kind === "model") {
      const type = kind === "model" ? code : "value_error";
      expect(body).toEqual({
        detail: [{ loc: ["body"], msg: "A sentence.", type, url: `https://docs.fal.ai/errors/#${type}` }],
      });
      expect(headers).toEqual({
        "x-fal-retryable": String(retryable),
        "x-fal-needs-retry": retryable ? "1" : "0",
        "x-fal-billable-units": "0",
      });
    } else if (kind === "request") {
      expect(body).toEqual({ detail: "A sentence.", error_type: code });
      expect(headers).toMatchObject({
        "x-fal-error-type": code,
        "x-fal-retryable": String(retryable),
        "x-fal-needs-retry": retryable ? "1" : "0",
      });
    } else {
      expect(body).toEqual({ detail: "A sentence." });
      expect(headers).not.toHaveProperty("x-fal-error-type");
    }
  });

  it("describes each fault by its location, type, documentation page and numbers", () => {
    const faults = [
      { loc: ["body", "prompt"], msg: "Field required", type: "missing" },
      {
        loc: ["body", "loras", 0, "scale"],
        msg: "Input should be less than or equal to 4",
        type: "less_than_equal",
        ctx: { le: 4 },
      },
    ];
    expect(falError({ code: "input_invalid", message: "", faults }).body).toEqual({
      detail: [
        {
          loc: ["body", "prompt"],
          msg: "Field required",
          type: "missing",
          url: "https://docs.fal.ai/errors/#missing",
        },
        {
          loc: ["body", "loras", 0, "scale"],
          msg: "Input should be less than or equal to 4",
          type: "less_than_equal",
          url: "https://docs.fal.ai/errors/#less_than_equal",
          ctx: { le: 4 },
        },
      ],
    });
  });

  it("marks a start deadline that the caller set, so that no client tries again", () => {
    const { headers } = falError({ code: "startup_timeout", message: "" }, { userTimeout: true });
    expect(headers["x-fal-request-timeout-type"]).toBe("user");
    expect(falError({ code: "startup_timeout", message: "" }).headers).not.toHaveProperty(
      "x-fal-request-timeout-type",
    );
  });
});

describe("the catalogue", () => {
  it.each(ENTRIES)(
    "%s has a status that fits its kind, and a sentence",
    (_code, { kind, status, message }) => {
      expect(status).toBeGreaterThanOrEqual(400);
      expect(status).toBeLessThan(600);
      if (kind === "input") expect(status).toBe(422);
      expect(message.length).toBeGreaterThan(3);
      expect(message).toMatch(/^[\x20-\x7e]+$/);
    },
  );
});

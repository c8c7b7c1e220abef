import { describe, expect, it } from "vitest";
import type { ModelVersion } from "../../core/models/model.ts";
import { createInputCheck } from "../../registry/input-check.ts";
import { checkFrame, checkJson } from "./frame-check.ts";

const input = {
  type: "object",
  required: ["image"],
  properties: {
    image: {
      anyOf: [
        { type: "string", format: "binary" },
        { type: "string", maxLength: 10 },
      ],
    },
    prompt: { type: "string", default: "none" },
    anything: { title: "Anything" },
    list: { type: "array", items: { type: "string" } },
    image_url: { type: "string" },
    more: { type: "object", properties: { mask_urls: { type: "array" } } },
  },
};
const model = { schemas: { input, output: {} }, restrictions: [] } as unknown as ModelVersion;
const route = { model, checkInput: createInputCheck(model) };
const bytes = new Uint8Array([1, 2, 3]);

describe("bytes in a frame", () => {
  it("are accepted unchanged where the schema has `binary` or no type; defaults are applied", () => {
    const frame = { image: bytes, anything: { deep: [bytes, "x"] }, unknown: { dropped: bytes } };
    expect(checkFrame(route, frame)).toEqual({
      input: { image: bytes, anything: { deep: [bytes, "x"] }, prompt: "none" },
    });
    expect(frame.unknown.dropped).toBe(bytes);
  });

  it.each([
    ["prompt", { image: bytes, prompt: bytes }, ["body", "prompt"]],
    ["list", { image: bytes, list: [bytes] }, ["body", "list", 0]],
  ])("are refused in %s, which has another type", (_, frame, loc) =>
    expect(checkFrame(route, frame)).toMatchObject({ faults: [{ loc, msg: "Input should not be bytes" }] }),
  );

  it("leave the other fields to the check of the schema", () => {
    expect(checkFrame(route, {})).toMatchObject({ faults: [{ loc: ["body", "image"], type: "missing" }] });
    expect(checkFrame(route, { image: 5 })).toHaveProperty("faults");
    expect(checkFrame(route, { image: "short", prompt: 5 })).toMatchObject({
      faults: [{ loc: ["body", "prompt"] }],
    });
  });
});

describe("addresses of files in a frame", () => {
  it.each(["file:///etc/passwd", "https://example.com/a.png", "data:image/png;base64,AAAA"])(
    "are passed on to the GPU worker, which fetches or refuses them: %s",
    (image_url) => {
      const more = { mask_urls: ["", image_url] };
      expect(checkFrame(route, { image: bytes, image_url, more })).toEqual({
        input: { image: bytes, image_url, more, prompt: "none" },
      });
      expect(checkJson(route, { image: "short", image_url })).toEqual({
        input: { image: "short", image_url, prompt: "none" },
      });
    },
  );
});

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
  const refused = (loc: (string | number)[]) => ({
    faults: [{ loc, msg: expect.stringContaining("cannot name files"), type: "value_error" }],
  });

  it.each(["file:///etc/passwd", "attachment:0", "https://example.com/a.png", "data:image/png;base64,AAAA"])(
    "refuse %s",
    (image_url) => {
      expect(checkFrame(route, { image: bytes, image_url })).toEqual(refused(["body", "image_url"]));
      expect(checkJson(route, { image: "short", image_url })).toEqual(refused(["body", "image_url"]));
      expect(checkJson(route, { image: "short", more: { mask_urls: ["", image_url] } })).toEqual(
        refused(["body", "more", "mask_urls", 1]),
      );
    },
  );

  it("are ignored where they are empty or in unknown fields", () => {
    expect(checkJson(route, { image: "short", image_url: "", video_url: "file:///etc/passwd" })).toEqual({
      input: { image: "short", image_url: "", prompt: "none" },
    });
  });
});

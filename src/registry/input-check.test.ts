import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { Json, JsonObject } from "../core/json/json.ts";
import { LIMITS } from "../core/limits.ts";
import { createInputCheck } from "./input-check.ts";

const QWEN = JSON.parse(
  readFileSync(new URL("../../schemas/models/fal-ai/qwen-image/1.0.0/input.json", import.meta.url), "utf8"),
) as JsonObject;
const check = createInputCheck({
  schemas: { input: QWEN, output: {} },
  restrictions: [
    { field: "loras", accepts: { maxItems: 0 }, message: "This model has no LoRA layers." },
    { field: "acceleration", accepts: { const: "none" }, message: "This model has one speed." },
  ],
});
const simple = (properties: JsonObject, rest: JsonObject = {}) =>
  createInputCheck({
    schemas: { input: { type: "object", properties, ...rest }, output: {} },
    restrictions: [],
  });

const accepted = (raw: Json, by = check) => {
  const result = by(raw);
  if ("faults" in result) throw new Error(JSON.stringify(result.faults));
  return result;
};
const faults = (raw: Json, by = check) => {
  const result = by(raw);
  if (!("faults" in result)) throw new Error("accepted");
  return result.faults;
};

describe("an input that fits", () => {
  it("is completed with fal's defaults", () => {
    expect(accepted({ prompt: "x", seed: 7 })).toEqual({
      ignored: [],
      input: {
        prompt: "x",
        seed: 7,
        image_size: "landscape_4_3",
        num_inference_steps: 30,
        guidance_scale: 2.5,
        sync_mode: false,
        num_images: 1,
        enable_safety_checker: true,
        output_format: "png",
        negative_prompt: " ",
        acceleration: "none",
        loras: [],
        use_turbo: false,
      },
    });
  });

  it("keeps the caller's values, falsy ones too", () => {
    const given = {
      prompt: "",
      guidance_scale: 0,
      negative_prompt: "",
      enable_safety_checker: false,
      image_size: { width: 640, height: 480 },
      seed: 0,
    };
    expect(accepted(given).input).toMatchObject(given);
  });

  it("is not changed: the completed input is a copy", () => {
    const raw = { prompt: "x", image_size: { width: 640, height: 480 } };
    const { input } = accepted(raw);
    (input.image_size as JsonObject).width = 1;
    expect(raw).toEqual({ prompt: "x", image_size: { width: 640, height: 480 } });
  });

  it.each([
    "a circle",
    "赤い円",
    "дерево",
    "دائرة",
    "👩‍👩‍👧‍👦",
    "\u202eright to left",
    "line\nbreak\ttab",
    "'; DROP TABLE requests; --",
    "{{7*7}} $(id) `id`",
  ])("may hold any text: %j", (prompt) => expect(accepted({ prompt }).input.prompt).toBe(prompt));
});

describe("the seed", () => {
  it("is drawn when absent or null, in 32 bits", () => {
    const seeds = Array.from(
      { length: 200 },
      (_, n) => accepted(n % 2 ? { prompt: "x" } : { prompt: "x", seed: null }).input.seed as number,
    );
    for (const seed of seeds) expect(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32).toBe(true);
    expect(new Set(seeds).size).toBeGreaterThan(190);
  });

  it.each<[string, JsonObject, number, number]>([
    ["bounds", { type: ["integer", "null"], minimum: 10, maximum: 12 }, 10, 12],
    ["bounds in a union", { anyOf: [{ type: "integer", minimum: 0, maximum: 3 }, { type: "null" }] }, 0, 3],
    ["one value", { type: "integer", minimum: 5, maximum: 5 }, 5, 5],
    ["negative bounds", { type: "integer", minimum: -2, maximum: -1 }, -2, -1],
    ["a lower bound", { type: "integer", minimum: 2 ** 40 }, 2 ** 40, 2 ** 40 + 2 ** 32],
  ])("keeps to the field's %s", (_name, seed, low, high) => {
    const bounded = simple({ seed });
    for (let n = 0; n < 200; n++) {
      const drawn = accepted({}, bounded).input.seed as number;
      expect(drawn).toBeGreaterThanOrEqual(low);
      expect(drawn).toBeLessThanOrEqual(high);
    }
  });

  it("is not drawn for a model without a seed, or whose seed is not an integer", () => {
    expect(accepted({}, simple({ a: {} })).input).toEqual({});
    expect(accepted({}, simple({ seed: { type: "string" } })).input).toEqual({});
  });
});

describe("fields that are not in the schema", () => {
  it("are left out and named, whatever their values", () => {
    const { input, ignored } = accepted({ prompt: "x", extra: { deep: [1] }, Prompt: "y" });
    expect(ignored).toEqual(["extra", "Prompt"]);
    expect(input).not.toHaveProperty("extra");
  });

  it("are kept by a schema with additional properties", () =>
    expect(
      accepted({ a: 1, b: 2 }, simple({ a: {} }, { additionalProperties: { type: "integer" } })),
    ).toEqual({
      input: { a: 1, b: 2 },
      ignored: [],
    }));

  it.each(["__proto__", "constructor", "prototype", "toString", "hasOwnProperty"])(
    "reach no prototype: %s",
    (name) => {
      const raw = JSON.parse(`{"prompt":"x","${name}":{"polluted":1,"isAdmin":true}}`) as Json;
      const { input, ignored } = accepted(raw);
      expect(ignored).toEqual([name]);
      expect(Object.hasOwn(input, name)).toBe(false);
      expect(Object.getPrototypeOf(input)).toBe(Object.prototype);
      expect(input.polluted).toBeUndefined();
      expect(({} as { polluted?: number }).polluted).toBeUndefined();
    },
  );

  it("do not satisfy a required field through a prototype", () =>
    expect(faults(JSON.parse('{"__proto__":{"prompt":"x"}}') as Json)).toMatchObject([{ type: "missing" }]));

  it("inside a value stay plain data", () => {
    const nested = accepted(JSON.parse('{"a":{"__proto__":{"polluted":1}}}') as Json, simple({ a: {} })).input
      .a as JsonObject;
    expect(Object.getPrototypeOf(nested)).toBe(Object.prototype);
    expect(nested.polluted).toBeUndefined();
  });
});

describe("an input that does not fit", () => {
  it.each<[string, Json]>([
    ["a list", []],
    ["a list of objects", [{ prompt: "x" }]],
    ["text", "x"],
    ["null", null],
    ["a number", 5],
    ["false", false],
  ])("%s is not an object", (_name, raw) =>
    expect(faults(raw)).toMatchObject([{ loc: ["body"], type: "model_attributes_type" }]),
  );

  it("has all its faults named together", () =>
    expect(
      faults({
        num_images: 9,
        output_format: "gif",
        image_size: { width: 99_999 },
        loras: [{ scale: 5 }],
      }).map(({ loc, type }) => `${loc.slice(1).join(".")} ${type}`),
    ).toEqual([
      "prompt missing",
      "num_images less_than_equal",
      "output_format one_of",
      "loras.0.path missing",
      "loras.0.scale less_than_equal",
      "image_size.width less_than_equal",
    ]));

  it("names the given field that is probably meant for a missing one", () => {
    const missing = (raw: Json, by = check) => faults(raw, by).map(({ loc, msg }) => [loc.at(-1), msg]);
    expect(missing({ promt: "x" })).toEqual([["prompt", 'Field required (did you misspell it as "promt"?)']]);
    expect(missing({ Prompt: "x", seed: 1 })).toEqual([
      ["prompt", 'Field required (did you misspell it as "Prompt"?)'],
    ]);
    expect(missing({ prompt: "x", loras: [{ pth: "y" }] })).toEqual([
      ["path", 'Field required (did you misspell it as "pth"?)'],
    ]);
    const open = simple({ prompt: {} }, { required: ["prompt"], additionalProperties: true });
    expect(missing({ promt: "x" }, open)).toEqual([
      ["prompt", 'Field required (did you misspell it as "promt"?)'],
    ]);
  });

  it("names no field that the model knows, and none that is not similar", () => {
    const near = simple({ image_url: {}, image_urls: {} }, { required: ["image_url"] });
    for (const raw of [{ image_urls: [] }, { text: "x" }, {}])
      expect(faults(raw, near).map(({ msg }) => msg)).toEqual(["Field required"]);
  });

  it("treats null as a value, not as an absent field", () =>
    expect(faults({ prompt: null, num_images: null }).map(({ type }) => type)).toEqual([
      "string_type",
      "int_type",
    ]));

  it("refuses an infinite number", () =>
    expect(faults(JSON.parse('{"prompt":"x","guidance_scale":1e999}') as Json)).toMatchObject([
      { type: "float_type" },
    ]));
});

describe("a restricted field", () => {
  it("is a 422 with the model's own sentence", () =>
    expect(faults({ prompt: "x", loras: [{ path: "https://example.com/a" }], acceleration: "high" })).toEqual(
      [
        { loc: ["body", "loras"], msg: "This model has no LoRA layers.", type: "feature_not_supported" },
        { loc: ["body", "acceleration"], msg: "This model has one speed.", type: "feature_not_supported" },
      ],
    ));

  it("is accepted within its restriction", () =>
    expect(accepted({ prompt: "x", loras: [], acceleration: "none" }).ignored).toEqual([]));

  it("reports a fault of the schema before one of the restriction", () =>
    expect(faults({ prompt: "x", acceleration: "warp" })).toMatchObject([{ type: "one_of" }]));
});

describe("text that nothing can store", () => {
  it.each<[string, string, (string | number)[]]>([
    ["a NUL", '{"prompt":"a\\u0000b"}', ["body", "prompt"]],
    ["half a surrogate pair", '{"prompt":"a\\ud83d"}', ["body", "prompt"]],
    ["the other half", '{"prompt":"\\ude00 a"}', ["body", "prompt"]],
    ["in a list", '{"prompt":"x","loras":[{"path":"ok"},{"path":"\\u0000"}]}', ["body", "loras", 1, "path"]],
    ["in a field's name", '{"prompt":"x","a\\u0000b":1}', ["body"]],
    ["half a pair in a name", '{"prompt":"x","loras":[{"\\ud800":1}]}', ["body", "loras", 0]],
    ["in an unknown field", '{"prompt":"x","extra":{"a":["\\u0000"]}}', ["body", "extra", "a", 0]],
  ])("refuses %s and locates it", (_name, json, loc) =>
    expect(faults(JSON.parse(json) as Json)).toEqual([
      { loc, msg: expect.stringMatching(/NUL|surrogate/), type: "value_error" },
    ]),
  );
});

describe("size", () => {
  const nested = (levels: number): Json =>
    JSON.parse(`{"prompt":"x","extra":${"[".repeat(levels)}1${"]".repeat(levels)}}`) as Json;

  it("accepts nesting up to the limit and refuses it above", () => {
    expect(accepted(nested(LIMITS.inputDepthMax - 1)).ignored).toEqual(["extra"]);
    expect(faults(nested(LIMITS.inputDepthMax))).toMatchObject([{ type: "recursion_loop" }]);
  });

  it("answers a hundred thousand levels without a stack overflow", () => {
    const [fault] = faults(nested(100_000));
    expect(fault?.type).toBe("recursion_loop");
    expect(fault?.loc.length).toBeLessThan(10);
  });

  it("measures a huge text in characters", () => {
    expect(faults({ prompt: "a".repeat(20_000_000) })).toMatchObject([{ type: "sequence_too_long" }]);
    expect(accepted({ prompt: "😀".repeat(8000) }).ignored).toEqual([]);
  });

  it("reports one fault of an input with more values than are explained", () =>
    expect(faults({ prompt: "x", loras: Array(LIMITS.inputValuesExplainedMax).fill(0) })).toHaveLength(1));

  it("reports the first hundred of a thousand faults", () =>
    expect(faults({ prompt: "x", loras: Array(1_000).fill(0) })).toHaveLength(LIMITS.inputFaultsMax));

  it("leaves out a hundred thousand unknown fields", () => {
    const many = Object.fromEntries(Array.from({ length: 100_000 }, (_, n) => [`f${n}`, n]));
    expect(accepted({ prompt: "x", ...many }).ignored).toHaveLength(100_000);
  });
});

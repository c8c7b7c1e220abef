import { describe, expect, it } from "vitest";
import type { Json } from "../json/json.ts";
import { isNodeName, parseReference, referencesOf, resolveReferences } from "./references.ts";

describe("a reference", () => {
  it.each([
    ["$input.prompt", "input", ["prompt"]],
    ["$image.images.0.url", "image", ["images", 0, "url"]],
    ["$node-a", "node-a", []],
    ["$fal_ai_flux_1.images.10", "fal_ai_flux_1", ["images", 10]],
    ["$bild-größe.größe", "bild-größe", ["größe"]],
    ["$2nd.x", "2nd", ["x"]],
  ])("%s is parsed", (text, source, path) => expect(parseReference(text)).toEqual({ text, source, path }));

  it.each([
    "$",
    "$ 100",
    "$5.00 for it",
    "$input.",
    "$input..x",
    "$.x",
    "$input.a-b",
    "$input.0x",
    "$-a",
    "$input.x y",
    "$input.99999999999",
  ])("%j is refused with a fault that quotes it", (text) => {
    const read = parseReference(text);
    expect(read).toHaveProperty("fault");
    expect((read as { fault: string }).fault).toContain(JSON.stringify(text));
  });

  it("is found at any depth, with its path, invalid ones too", () => {
    const template = { a: ["x", { b: "$input.p" }], c: "$n.0", d: "costs $5", e: "$$" };
    expect(
      referencesOf(template).map((found) => [
        found.loc,
        "reference" in found ? found.reference.source : "fault",
      ]),
    ).toEqual([
      [["a", 1, "b"], "input"],
      [["c"], "n"],
      [["e"], "fault"],
    ]);
  });
});

describe("resolveReferences", () => {
  const values: Record<string, Json> = {
    input: { prompt: "a $5 note", none: null, list: [[1, 2], [3]] },
    image: { images: [{ url: "u0" }, { url: "u1" }] },
  };
  const resolve = (template: Json) =>
    resolveReferences(template, (source) => (Object.hasOwn(values, source) ? values[source] : undefined));

  it("inserts values of any kind, and does not resolve references inside them", () => {
    expect(
      resolve({
        p: "$input.prompt",
        all: ["$image.images.1.url", "$input.list.0", "text"],
        none: "$input.none",
        n: 3,
      }),
    ).toEqual({
      value: { p: "a $5 note", all: ["u1", [1, 2], "text"], none: null, n: 3 },
    });
  });

  it.each([
    ["$input.absent", 'an object without "absent"'],
    ["$image.images.2.url", "$image.images is a list of 2 without item 2"],
    ["$image.images.url", 'a list of 2 without "url"'],
    ["$image.images.length", 'without "length"'],
    ["$input.toString", 'without "toString"'],
    ["$input.prompt.0", "a string without item 0"],
    ["$input.none.x", 'null without "x"'],
    ["$nobody.x", 'there is no "nobody"'],
    ["$constructor", 'there is no "constructor"'],
    ["$$", "is not a valid reference"],
  ])("%s has no value, and the reason is given", (text, why) => {
    const resolved = resolve({ deep: [text] });
    expect(resolved).toMatchObject({ unresolved: { loc: ["deep", 0], text } });
    expect("unresolved" in resolved && resolved.unresolved.why).toContain(why);
  });

  it("keeps a field named __proto__", () => {
    const resolved = resolve(JSON.parse('{"__proto__": "$input.prompt"}'));
    expect(JSON.stringify(resolved)).toBe('{"value":{"__proto__":"a $5 note"}}');
  });
});

describe("a node's name", () => {
  it.each(["image", "node-1", "größe", "1"])("may be %s", (name) => expect(isNodeName(name)).toBe(true));
  it.each(["input", "", "a.b", "a b", "$a", "-a", "a/b"])("may not be %j", (name) =>
    expect(isNodeName(name)).toBe(false),
  );
});

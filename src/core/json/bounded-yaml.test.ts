import { describe, expect, it } from "vitest";
import { LIMITS } from "../limits.ts";
import { parseBoundedYaml, yamlExcess } from "./bounded-yaml.ts";

const DEEP = 100_000;
const blocks = Array.from({ length: 1000 }, (_, level) => `${" ".repeat(level)}a:`).join("\n");

describe("YAML within the bounds", () => {
  it.each([
    "",
    "title: don't ] } [ worry\n",
    "a: ']'\nb: [\"]\", x]\nc: |\n  ]\nd: x\n  ]\n# ]\n",
    `text: |\n  ${"[".repeat(DEEP)}\n`,
    `text: "${"[".repeat(DEEP)}"\n`,
    `text: x${" - ".repeat(DEEP)}\n`,
    `# ${"[".repeat(DEEP)}\n`,
    `a: ${"[".repeat(LIMITS.yamlDepthMax)}${"]".repeat(LIMITS.yamlDepthMax)}`,
    Array.from({ length: 5000 }, (_, n) => `key${n}: [1, 2]`).join("\n"),
  ])("is parsed, %#", (text) => {
    const parsed = parseBoundedYaml(text);
    expect(parsed).not.toHaveProperty("fault");
  });
});

describe("YAML that would take too long or end the process", () => {
  it.each([
    ["flow lists", "[".repeat(DEEP)],
    ["flow maps", "{a: ".repeat(DEEP)],
    ["flow lists that hide behind text", '[ "]", '.repeat(DEEP)],
    ["flow lists on many lines", "[\n".repeat(DEEP)],
    ["compact lists", "- ".repeat(DEEP)],
    ["compact keys", "? ".repeat(DEEP)],
    ["indented maps", blocks],
  ])("is refused by its depth before it is parsed: %s", (_, text) => {
    expect(yamlExcess(text)).toMatchObject({ code: "TOO_LARGE", message: expect.stringContaining("deeper") });
  });

  it.each([
    ["keys", Array.from({ length: 30_000 }, (_, n) => `k${n}: 1`).join("\n"), "values"],
    ["items", `[${"1,".repeat(30_000)}]`, "values"],
    ["aliases", `a: &a 1\nb:\n${"  - *a\n".repeat(200)}`, "aliases"],
  ])("is refused by its size before it is parsed: %s", (_, text, what) => {
    expect(yamlExcess(text)?.message).toContain(what);
  });

  it.each([
    "]".repeat(30_000) + "[".repeat(19_000),
    "a: [1]]",
    "- }\n- [a]",
    "x:\n  ]",
    "{a: 'b'}}",
    "[1}",
    "{a: [b}]",
  ])("is refused where it closes what is not open, %#", (text) => {
    expect(yamlExcess(text)).toMatchObject({ message: "closes a list or map that is not open" });
  });

  it("names the line", () => expect(yamlExcess(`a: 1\nb: |\n  x\n  y\nc: ${"[".repeat(65)}`)?.line).toBe(5));

  it("has aliases of aliases", () => {
    const levels = Array.from({ length: 9 }, (_, n) =>
      n === 0
        ? "l0: &l0 [x, x]"
        : `l${n}: &l${n} [${Array(10)
            .fill(`*l${n - 1}`)
            .join(", ")}]`,
    );
    const parsed = parseBoundedYaml(levels.join("\n"));
    if ("fault" in parsed) throw new Error("is within the bounds");
    expect(() => parsed.document.toJS()).toThrow("Excessive alias count");
  });
});

it("compares the keys of a map once each, and refuses one that is there twice", () => {
  const keys = Array.from({ length: 10_000 }, (_, n) => `k${n}: 1`).join("\n");
  expect(parseBoundedYaml(`${keys}\nk500: 2\n`)).toEqual({
    fault: { line: 10_001, code: "DUPLICATE_KEY", message: "Map keys must be unique" },
  });
  expect(parseBoundedYaml("a: {b: 1, 'b': 2}")).toHaveProperty("fault.code", "DUPLICATE_KEY");
});

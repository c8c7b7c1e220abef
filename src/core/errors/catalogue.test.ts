import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { LIMITS } from "../limits.ts";
import { CATALOGUE, type ErrorEntry, isErrorCode } from "./catalogue.ts";

const PAGE = readFileSync(new URL("../../../docs/errors.md", import.meta.url), "utf8");

/** The cells of each row of the table under a heading, without its head. */
const tableUnder = (heading: string): string[][] =>
  (PAGE.split(`## ${heading}\n`)[1]?.split("\n## ")[0] ?? "")
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .slice(2)
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll("\\<", "<")),
    );

describe("docs/errors.md", () => {
  it("lists the codes of the catalogue in the same order", () => {
    const rows = tableUnder("The catalogue").map(([code, kind, status, retry, message]) => [
      code,
      kind,
      status,
      retry,
      message,
    ]);
    const entries = Object.entries(CATALOGUE) as [string, ErrorEntry][];
    expect(rows).toEqual(
      entries.map(([code, { kind, status, retryable, message }]) => [
        `\`${code}\``,
        kind,
        String(status),
        retryable ? "yes" : "no",
        message,
      ]),
    );
  });

  it("explains when each code occurs", () => {
    for (const [code, , , , , when] of tableUnder("The catalogue"))
      expect(when?.length, code).toBeGreaterThan(10);
  });

  it("lists every fault type that the registry reports, and no other", () => {
    const source = ["input-check", "schema-check", "lax-values", "missing-field"]
      .map((name) => readFileSync(new URL(`../../registry/${name}.ts`, import.meta.url), "utf8"))
      .join("\n");
    const given = [...source.matchAll(/\btype: "([a-z_]+)"|\["([a-z_]+)", "Input should be/g)].map(
      ([, a, b]) => a ?? b,
    );
    const named = tableUnder("Fault types of an input").flatMap(([types = ""]) =>
      types.split(",").map((type) => type.trim().replaceAll("`", "")),
    );
    expect([...named].sort()).toEqual([...new Set(given)].sort());
  });

  it("states the limits of the code", () => {
    expect(PAGE).toContain(`deeper than ${LIMITS.inputDepthMax} levels`);
    expect(PAGE).toContain(`At most ${LIMITS.inputFaultsMax} faults`);
    expect(PAGE).toContain(`more than ${LIMITS.inputValuesExplainedMax.toLocaleString("en-US")} values`);
  });
});

describe("error codes", () => {
  it.each(["toString", "constructor", "__proto__", "", "Key_missing", 5, null, undefined])(
    "%j is not an error code",
    (value) => expect(isErrorCode(value)).toBe(false),
  );
});

/** Identifiers and file names that the architecture pages give in code spans must exist in the source. */
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, it } from "vitest";
import { ARCHITECTURE, codeSpans, filesBelow, PROJECT, read } from "./pages.ts";

const sources = ["src", "engines/python", "scripts"].flatMap((folder) =>
  filesBelow(folder, /\.(ts|cjs|mjs|proto|py)$/),
);
const words = new Set(sources.flatMap((path) => read(path).match(/[A-Za-z_$][\w$]*/g) ?? []));
const files = new Set([...sources, ...filesBelow("tests", /\.ts$/)].map((path) => basename(path)));

/** Finds the camelCase and PascalCase words of a page's code spans that have more than one part. */
function identifiers(markdown: string): string[] {
  return codeSpans(markdown)
    .filter((span) => !span.includes("/"))
    .flatMap((span) => span.match(/(?<![\w-])[a-zA-Z][a-z0-9]+(?:[A-Z][a-z0-9]*)+(?![\w-])/g) ?? []);
}

/** Finds the file names without a folder. */
function fileNames(markdown: string): string[] {
  return codeSpans(markdown).filter((span) => /^[\w.-]+\.(ts|cjs|mjs|proto)$/.test(span));
}

describe.each(ARCHITECTURE)("%s", (page) => {
  it("names identifiers of the source", () =>
    expect(identifiers(read(page)).filter((name) => !words.has(name))).toEqual([]));

  it("names files of the source and the tests", () =>
    expect(
      fileNames(read(page)).filter((name) => !files.has(name) && !existsSync(join(PROJECT, name))),
    ).toEqual([]));
});

it("finds the identifiers of code spans, and notices unknown ones", () => {
  expect(identifiers("`createSubmit` and `timeouts.runMs`, not `GET /files` or `X-Fal-No-Retry`")).toEqual([
    "createSubmit",
    "runMs",
  ]);
  expect(words.has("createSubmit")).toBe(true);
  expect(words.has(["create", "Nothing"].join(""))).toBe(false);
});

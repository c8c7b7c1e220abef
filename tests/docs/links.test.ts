/** The documentation names files, functions and headings; all of them must be there. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { describe, expect, it } from "vitest";

const PROJECT = resolve(import.meta.dirname, "../..");
const read = (path: string): string => readFileSync(join(PROJECT, path), "utf8");

const pages = [
  "README.md",
  "CHANGELOG.md",
  "examples/README.md",
  "temporal/README.md",
  ...readdirSync(join(PROJECT, "docs"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => join("docs", name)),
].sort();

/** What GitHub makes of a heading: `## One outcome` → `one-outcome`. */
const anchors = (markdown: string): string[] =>
  [...withoutCode(markdown).matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );

/** A `#` in a code block is no heading, and a bracket in one no link. */
const withoutCode = (markdown: string): string => markdown.replace(/^```.*?^```/gms, "");

describe.each(pages)("%s", (page) => {
  const text = read(page);

  it("relative links lead to files, and to headings that are there", () => {
    const links = [...withoutCode(text).matchAll(/\]\((?!https?:)([^)\s]+)\)/g)].map(
      ([, target = ""]) => target,
    );
    const broken = links.filter((link) => {
      const [path = "", anchor] = link.split("#");
      const target = path === "" ? page : join(dirname(page), path);
      if (!existsSync(join(PROJECT, target))) return true;
      return anchor !== undefined && !anchors(read(target)).includes(anchor);
    });
    expect(broken).toEqual([]);
  });

  it("paths of the source, the tests and the scripts exist", () => {
    const paths = [...text.matchAll(/(?<![\w./-])(?:src|tests|scripts)\/[\w./-]*\w/g)].map(([path]) => path);
    expect(paths.filter((path) => !existsSync(join(PROJECT, path)))).toEqual([]);
  });

  it("what is said to be in a file is in it", () => {
    const named = [
      ...[...text.matchAll(/`(src\/[^`]+\.ts)`,\s+`(\w+)`/g)].map(([, path = "", name = ""]) => ({
        path,
        name,
      })),
      ...[...text.matchAll(/`(\w+)`\s+(?:\(|of\s+|in\s+)`(src\/[^`]+\.ts)`/g)].map(
        ([, name = "", path = ""]) => ({ path, name }),
      ),
    ];
    expect(named.filter(({ path, name }) => !new RegExp(`\\b${name}\\b`).test(read(path)))).toEqual([]);
  });
});

/** The documentation names files, functions and headings; all of them must exist. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { PAGES, PROJECT, read, withoutCode } from "./pages.ts";

/** Returns the anchors that GitHub makes of headings: `## One outcome` → `one-outcome`. */
function anchors(markdown: string): string[] {
  return [...withoutCode(markdown).matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

describe.each(PAGES)("%s", (page) => {
  const text = read(page);

  it("has relative links to existing files and headings only", () => {
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

  it("names existing paths of the source, the tests and the scripts only", () => {
    const paths = [...text.matchAll(/(?<![\w./-])(?:src|tests|scripts)\/[\w./-]*\w/g)].map(([path]) => path);
    expect(paths.filter((path) => !existsSync(join(PROJECT, path)))).toEqual([]);
  });

  it("names identifiers that are in the file beside them", () => {
    const named = [
      ...[...text.matchAll(/`(src\/[^`<]+\.ts)`,\s+`(\w+)`/g)].map(([, path = "", name = ""]) => ({
        path,
        name,
      })),
      ...[...text.matchAll(/`(\w+)`\s+(?:\(|of\s+|in\s+)`(src\/[^`<]+\.ts)`/g)].map(
        ([, name = "", path = ""]) => ({ path, name }),
      ),
    ];
    expect(named.filter(({ path, name }) => !new RegExp(`\\b${name}\\b`).test(read(path)))).toEqual([]);
  });
});

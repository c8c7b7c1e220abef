/** The pages of the documentation, and how the tests of this folder read them. */
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

export const PROJECT = resolve(import.meta.dirname, "../..");

export function read(path: string): string {
  return readFileSync(join(PROJECT, path), "utf8");
}

/** Lists the files below a folder of the project, with paths from the project's root. */
export function filesBelow(folder: string, name: RegExp): string[] {
  return readdirSync(join(PROJECT, folder), { recursive: true, encoding: "utf8" })
    .filter((path) => name.test(path) && !path.includes("node_modules"))
    .map((path) => join(folder, path))
    .sort();
}

/** Paths of all pages. */
export const PAGES = [
  "README.md",
  "CHANGELOG.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  "examples/README.md",
  "temporal/README.md",
  "tests/README.md",
  ...filesBelow("docs", /\.md$/),
].sort();

export const ARCHITECTURE = PAGES.filter((page) => page.startsWith("docs/architecture/"));

/** Removes code blocks: a `#` in one is no heading, and a bracket in one is no link. */
export function withoutCode(markdown: string): string {
  return markdown.replace(/^[ \t]*```.*?^[ \t]*```/gms, "");
}

/** Returns the contents of all code spans, without their backticks. */
export function codeSpans(markdown: string): string[] {
  return [...withoutCode(markdown).matchAll(/`([^`]+)`/g)].map(([, span = ""]) => span);
}

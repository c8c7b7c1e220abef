/** The glossary is sorted, has each word once, and names the file that owns it. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { PROJECT, read } from "./pages.ts";

interface Entry {
  word: string;
  meaning: string;
  file: string;
}

const entries: Entry[] = read("docs/glossary.md")
  .split("\n")
  .filter((line) => line.startsWith("|"))
  .slice(2)
  .map((line) => {
    const [word = "", meaning = "", file = ""] = line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim());
    return { word, meaning, file: file.replaceAll("`", "") };
  });

function letters(text: string): string {
  return text.toLowerCase().replace(/[^a-z]/g, "");
}

/** Tells whether a text has the word: as prose, also across the lines of a comment, or in an identifier. */
function hasWord(text: string, word: string): boolean {
  const prose = text.replace(/\n\s*(\*|\/\/)?\s*/g, " ");
  if (new RegExp(`\\b${word}s?\\b`, "i").test(prose)) return true;
  const identifiers = text.match(/[A-Za-z_]\w*/g) ?? [];
  return identifiers.some((identifier) => letters(identifier).includes(letters(word)));
}

describe("the glossary", () => {
  it("has words", () => expect(entries.length).toBeGreaterThan(100));

  it("is sorted, with each word once", () => {
    const words = entries.map(({ word }) => word.toLowerCase());
    expect(words).toEqual([...new Set(words)].sort());
  });

  it("has a meaning and a file for each word", () =>
    expect(entries.filter(({ meaning, file }) => meaning === "" || file === "")).toEqual([]));

  it.each(entries)("names a file that has the word: $word", ({ word, file }) => {
    expect([file, existsSync(join(PROJECT, file))]).toEqual([file, true]);
    expect([file, hasWord(read(file), word)]).toEqual([file, true]);
  });

  it("finds a word across two lines and in an identifier, and notices its absence", () => {
    const text = "/**\n * The poll\n * scheduler of a worker.\n */\nclass PoolEntry {}";
    expect(hasWord(text, "poll scheduler")).toBe(true);
    expect(hasWord(text, "pool entry")).toBe(true);
    expect(hasWord(text, "polling plan")).toBe(false);
  });
});

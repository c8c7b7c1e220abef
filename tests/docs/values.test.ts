/**
 * A page that gives the value of a limit or of a setting's default must give the one of the code. Pages write
 * `name` (value unit), or "`name` is value unit"; a setting is named by its path or by its variable.
 */
import { describe, expect, it } from "vitest";
import { SETTINGS } from "../../src/config/settings.ts";
import { LIMITS } from "../../src/core/limits.ts";
import { PAGES, read, withoutCode } from "./pages.ts";

interface Value {
  /** In the unit of the code. */
  number: number;
  /** The unit of the code; undefined for a count. */
  unit: string | undefined;
}

/** Factors from a unit of a page to the base unit of its kind. */
const FACTORS: Record<string, Record<string, number>> = {
  time: { ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 },
  size: { bytes: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 },
  // A text of a MiB in ASCII has 1,048,576 characters.
  characters: { characters: 1, KiB: 1024, MiB: 1024 ** 2 },
};

/** The unit of a limit is part of its name. */
function unitOfLimit(name: string): string | undefined {
  if (/Ms(Max|Min)?$/.test(name)) return "ms";
  if (/Seconds(Max|Min)?$/.test(name)) return "s";
  if (/Bytes(Max|Min)?$/.test(name)) return "bytes";
  if (/Characters(Max|Min)?$/.test(name)) return "characters";
  return undefined;
}

const values = new Map<string, Value>();
for (const [name, number] of Object.entries(LIMITS)) {
  const value = { number, unit: unitOfLimit(name) };
  values.set(name, value).set(`LIMITS.${name}`, value);
}
for (const [group, settings] of Object.entries(SETTINGS)) {
  for (const [name, setting] of Object.entries(settings)) {
    if (typeof setting.default !== "number") continue;
    const value = { number: setting.default, unit: setting.unit };
    values.set(`${group}.${name}`, value).set(setting.env, value);
  }
}

interface Mention {
  name: string;
  number: number;
  unit: string | undefined;
}

/** Finds the values that a page gives. */
function mentions(markdown: string): Mention[] {
  const pattern = /`([\w.]+)`\s+(?:\(|is\s+)(\d[\d,]*(?:\.\d+)?)(?:\s+([A-Za-z]+))?/g;
  return [...withoutCode(markdown).matchAll(pattern)].flatMap(([, name = "", digits = "", unit]) =>
    values.has(name) ? [{ name, number: Number(digits.replaceAll(",", "")), unit }] : [],
  );
}

/** Tells whether a page gives the value of the code. A count may be followed by any noun. */
function isRight({ name, number, unit }: Mention): boolean {
  const value = values.get(name);
  if (!value) return false;
  for (const factors of Object.values(FACTORS)) {
    const ours = factors[value.unit ?? ""];
    const theirs = factors[unit ?? ""];
    if (ours !== undefined && theirs !== undefined) return number * theirs === value.number * ours;
    if (ours !== undefined && factors !== FACTORS.characters) return false;
  }
  return number === value.number;
}

describe("values of limits and settings", () => {
  it.each(PAGES)("are those of the code in %s", (page) =>
    expect(mentions(read(page)).filter((mention) => !isRight(mention))).toEqual([]),
  );

  it("are given by the architecture pages", () => {
    const count = PAGES.reduce((sum, page) => sum + mentions(read(page)).length, 0);
    expect(count).toBeGreaterThan(30);
  });

  it("are recognised when they are wrong, by number and by unit", () => {
    expect(mentions("`keyCacheMs` (1.5 s), `inlineBytesMax` is 32 KiB").every(isRight)).toBe(true);
    const wrong = mentions(
      "`keyCacheMs` (3 s), `inlineBytesMax` (32 MiB), `inlineBytesMax` (32768), `keyCacheMs` is 1500 " +
        "`handOversMax` (99 times), `TEMPERA_GRACE_SECONDS` (30 s), `realtime.idleSeconds` (60 min)",
    );
    expect(wrong).toHaveLength(7);
    expect(wrong.filter(isRight)).toEqual([]);
  });
});

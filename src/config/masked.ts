import { allSettings } from "./load-config.ts";
import type { Config } from "./settings.ts";

export const MASK = "***";

/** Shorter ones stand in ordinary words, and no secret that is worth the name is shorter. */
const CHARACTERS_MIN = 6;

/** A key of Tempera's own, wherever it stands. */
const KEY = /\b([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):[^\s"'\\,}&]{8,}/gi;

/**
 * Takes every configured secret out of a text, and everything that looks like a key: each password of an
 * address, each part of a list, as it is written and as JSON and URLs write it.
 */
export function createMask(config: Config): (text: string) => string {
  const groups = config as unknown as Record<string, Record<string, unknown>>;
  const secrets = allSettings().flatMap(({ group, name, setting }) => {
    const value = groups[group]?.[name];
    return setting.secret && typeof value === "string" ? partsOf(value) : [];
  });
  const written = secrets.flatMap((secret) => [
    secret,
    JSON.stringify(secret).slice(1, -1),
    encodeURIComponent(secret),
  ]);
  // Longest first: what is a part of another must not leave the rest of it standing.
  const all = [...new Set(written)]
    .filter(({ length }) => length >= CHARACTERS_MIN)
    .sort((a, b) => b.length - a.length);
  return (text) => {
    let masked = text;
    for (const secret of all) if (masked.includes(secret)) masked = masked.replaceAll(secret, MASK);
    return masked.replace(KEY, `$1:${MASK}`);
  };
}

/**
 * What must not be shown of a secret: of an address its password, of a list each of its parts, of a key what
 * is after its id.
 */
function partsOf(value: string): string[] {
  if (/^[a-z]+:\/\//i.test(value) && URL.canParse(value)) {
    const { password, searchParams } = new URL(value);
    // Drivers take a password from the query too.
    const asked = [...searchParams].flatMap(([name, given]) =>
      /pass|secret|token|key/i.test(name) ? [given] : [],
    );
    return [...(password ? [value, password, decodeURIComponent(password)] : []), ...asked];
  }
  return [value, ...value.split(",").flatMap((part) => [part.trim(), part.trim().replace(/^[^:]+:/, "")])];
}

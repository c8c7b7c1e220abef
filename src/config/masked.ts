import { allSettings } from "./load-config.ts";
import type { Config } from "./settings.ts";

export const MASK = "***";

/** Shortest secret that is masked. Shorter texts occur in ordinary words, and a real secret is longer. */
const CHARACTERS_MIN = 6;

/** Matches an API key of Tempera anywhere in a text. */
const KEY = /\b([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):[^\s"'\\,}&]{8,}/gi;

/**
 * Creates a function that masks every configured secret in a text, and everything that looks like an API key.
 * Passwords in addresses and the parts of lists count as secrets; each is masked as it is written and in the
 * notations of JSON and URLs.
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
  // The longest first: a secret that contains another must be masked as a whole.
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
 * Lists the texts that must not be shown of a secret: the password of an address, each part of a list, and
 * the part of a key after its id.
 */
function partsOf(value: string): string[] {
  if (/^[a-z]+:\/\//i.test(value) && URL.canParse(value)) {
    const { password, searchParams } = new URL(value);
    // Drivers also read a password from the query.
    const fromQuery = [...searchParams].flatMap(([name, given]) =>
      /pass|secret|token|key/i.test(name) ? [given] : [],
    );
    return [...(password ? [value, password, decodeURIComponent(password)] : []), ...fromQuery];
  }
  return [value, ...value.split(",").flatMap((part) => [part.trim(), part.trim().replace(/^[^:]+:/, "")])];
}

import { MASK, maskPositions } from "../core/operations/mask.ts";
import { allSettings } from "./load-config.ts";
import type { Config } from "./settings.ts";

/** Length from which a secret is masked wherever it occurs: by chance, no other text contains it. */
const CHARACTERS_MIN = 16;
/** The same for a secret of three kinds of characters: capitals, small letters, digits, others. */
const MIXED_CHARACTERS_MIN = 8;
const KINDS = [/[a-z]/, /[A-Z]/, /\d/, /[^a-zA-Z\d]/];

/**
 * Creates a function that masks secrets in a text: what stands in the place of a secret (`maskPositions`),
 * and each configured secret that cannot be an ordinary word, wherever it occurs.
 *
 * A configured secret is masked everywhere when it has 16 characters, or 8 of three kinds, and is no name
 * that the configuration has elsewhere, such as a user or a bucket. A shorter password, such as `tempera`, is
 * masked in addresses and fields only, or harmless texts would be masked with it.
 */
export function createMask(config: Config): (text: string) => string {
  const secrets = configuredSecrets(config);
  const names = configuredNames(config);
  const isRecognisable = (secret: string): boolean =>
    !names.has(secret.toLowerCase()) &&
    (secret.length >= CHARACTERS_MIN ||
      (secret.length >= MIXED_CHARACTERS_MIN && KINDS.filter((kind) => kind.test(secret)).length >= 3));
  const everywhere = notations(secrets.filter(isRecognisable)).map((text) => [text, MASK] as const);
  // Drivers decode the password of an address and may show it so: `/` and quotes then end it too early.
  const inAddresses = notations(secrets).map((text) => [`:${text}@`, `:${MASK}@`] as const);
  const replaced = [...inAddresses, ...everywhere];
  return (text) => {
    let masked = text;
    for (const [secret, mask] of replaced)
      if (masked.includes(secret)) masked = masked.replaceAll(secret, mask);
    return maskPositions(masked);
  };
}

/** Writes each text as it is and in the notations of JSON and of addresses; the longest first. */
function notations(texts: string[]): string[] {
  const written = texts.flatMap((text) => [
    text,
    JSON.stringify(text).slice(1, -1),
    encodeURIComponent(text),
    encodeURI(text),
  ]);
  // A secret that contains another must be masked as a whole.
  return [...new Set(written)].sort((a, b) => b.length - a.length);
}

type Values = Record<string, Record<string, unknown>>;

function configuredSecrets(config: Config): string[] {
  const values = config as unknown as Values;
  return allSettings().flatMap(({ group, name, setting }) => {
    const value = values[group]?.[name];
    return setting.secret && typeof value === "string" ? partsOf(value).filter(Boolean) : [];
  });
}

/**
 * Lists the texts that must not be shown of a secret: the password of an address, each part of a list, and
 * the part of a key after its id.
 */
function partsOf(value: string): string[] {
  const url = addressOf(value);
  if (url) {
    const { password, searchParams } = url;
    // Drivers also read a password from the query.
    const fromQuery = [...searchParams].flatMap(([name, given]) =>
      /pass|secret|token|key/i.test(name) ? [given] : [],
    );
    return [...(password ? [password, decodeURIComponent(password)] : []), ...fromQuery];
  }
  return [value, ...value.split(",").flatMap((part) => [part.trim(), part.trim().replace(/^[^:]+:/, "")])];
}

/** Lists the configured texts that are no secrets, in small letters: users, databases, hosts, buckets. */
function configuredNames(config: Config): Set<string> {
  const values = config as unknown as Values;
  const names = allSettings().flatMap(({ group, name, setting }) => {
    const value = values[group]?.[name];
    if (typeof value !== "string") return [];
    const url = addressOf(value);
    if (url) return [decodeURIComponent(url.username), url.hostname, url.pathname.slice(1)];
    return setting.secret ? [] : [value];
  });
  return new Set(names.filter(Boolean).map((name) => name.toLowerCase()));
}

function addressOf(value: string): URL | undefined {
  return /^[a-z]+:\/\//i.test(value) && URL.canParse(value) ? new URL(value) : undefined;
}

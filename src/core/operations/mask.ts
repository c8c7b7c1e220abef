/** Text that stands in the place of a secret. */
export const MASK = "***";

/** Names of fields, parameters and variables whose values are secrets, as they end. */
const NAMES =
  "(?:[\\w.-]{0,64}(?:authorization|cookie|passw(?:or)?d|passphrase|secret|secret[_-]?key|" +
  "secret[_-]?access[_-]?key|key[_-]?secret|api[_-]?key|admin[_-]?key|private[_-]?key|pepper|signature)|" +
  "(?:[\\w.-]{0,64}[_.-])?token)";

/**
 * Places of secrets in a text, whatever the secret is, each with the text that replaces it. A place is named
 * by what surrounds it, so that a password that is an ordinary word is masked there and nowhere else.
 */
const POSITIONS: readonly [RegExp, string][] = [
  // The password of an address, up to its last `@`, since a driver may show the password decoded.
  [/\b([a-z][a-z0-9+.-]{0,20}:\/\/[^\s:/?#@"'\\]*):[^\s/?#"'\\]+@/gi, `$1:${MASK}@`],
  // A parameter of an address.
  [new RegExp(`([?&](?:${NAMES}|pass|pwd|sig|key)=)[^&\\s"'\\\\#]+`, "gi"), `$1${MASK}`],
  // A header, with or without its scheme.
  [
    /\b(authorization["']?\s*[:=]\s*["']?(?:(?:key|bearer|basic|token)\s+)?)[^\s"',\\}*][^\s"',\\}]*/gi,
    `$1${MASK}`,
  ],
  [/\b(bearer\s+)[\w.~+/=-]{16,}/gi, `$1${MASK}`],
  // A field of JSON, which may itself be in a text of JSON: its quotes then follow a backslash.
  [
    new RegExp(`(\\\\{0,7})(["'])(${NAMES})\\1\\2(\\s*:\\s*)\\1\\2.*?(?<!\\\\)\\1\\2`, "gis"),
    `$1$2$3$1$2$4$1$2${MASK}$1$2`,
  ],
  // An assignment: a variable, or a parameter of a connection.
  [new RegExp(`\\b(${NAMES})=(["']?)(?!\\*)[^\\s"',;&\\\\})]+`, "gi"), `$1=$2${MASK}`],
  // An API key of Tempera, whose id is no secret.
  [/\b([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(:|%3A)[^\s"'\\,}&]{8,}/gi, `$1$2${MASK}`],
];

const SECRET_FIELD = new RegExp(`^${NAMES}$`, "i");

/** Tells whether a field of that name holds a secret, such as `password` or `key_secret`. */
export function isSecretField(name: string): boolean {
  return SECRET_FIELD.test(name);
}

/**
 * Masks what stands in the place of a secret: passwords in addresses, `Authorization` headers, parameters and
 * fields with the name of a secret, and API keys. The rest of the text stays as it is.
 */
export function maskPositions(text: string): string {
  return POSITIONS.reduce((masked, [position, mask]) => masked.replace(position, mask), text);
}

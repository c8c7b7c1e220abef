/**
 * Signing keys are what webhooks are signed with (Ed25519). Receivers take the public halves from the JWKS
 * and may remember it for a day, so a key is published before it signs, and stays published after it has
 * stopped.
 */

/**
 * How long before its first signature a new key is published, and how long after its last one it still is. A
 * day, and an hour for clocks.
 */
export const PUBLISHED_MS = 25 * 3600 * 1000;

export interface SigningKey {
  /** The JWKS' `kid`. */
  keyId: string;
  /** The JWKS' `x`: 32 bytes, base64url. */
  publicKey: string;
  createdAtMs: number;
  /** From then on it signs, until a later key does. */
  signsFromMs: number;
  /** Taken out of use at once, by an operator who believes it stolen. */
  revokedAtMs?: number;
}

const notRevoked = <K extends SigningKey>(keys: readonly K[]): K[] =>
  keys.filter(({ revokedAtMs }) => revokedAtMs === undefined);

/** The key that signs at a moment: of those that may, the one that began last. */
export const signerAt = <K extends SigningKey>(keys: readonly K[], atMs: number): K | undefined =>
  notRevoked(keys)
    .filter(({ signsFromMs }) => signsFromMs <= atMs)
    .sort((a, b) => b.signsFromMs - a.signsFromMs)[0];

/** A key that is published and does not sign yet, if there is one: a rotation is under way. */
export const nextSigner = (keys: readonly SigningKey[], atMs: number): SigningKey | undefined =>
  notRevoked(keys).find(({ signsFromMs }) => signsFromMs > atMs);

/**
 * The keys of the JWKS at a moment, newest first: all but those whose successor has signed for
 * `PUBLISHED_MS`.
 */
export const publishedAt = <K extends SigningKey>(keys: readonly K[], atMs: number): K[] =>
  notRevoked(keys)
    .filter(
      (key) =>
        !notRevoked(keys).some(
          (later) => later.signsFromMs > key.signsFromMs && later.signsFromMs + PUBLISHED_MS <= atMs,
        ),
    )
    .sort((a, b) => b.signsFromMs - a.signsFromMs);

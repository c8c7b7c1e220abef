/**
 * A signing key signs webhooks (Ed25519). Receivers get its public half from the JWKS and may cache that for
 * a day, so a key is published before it signs, and stays published after it has stopped signing.
 */

/**
 * Time for which a key is published before its first signature, and after its last one: a day, and an hour
 * for clocks that differ.
 */
export const PUBLISHED_MS = 25 * 3600 * 1000;

export interface SigningKey {
  /** The JWKS' `kid`. */
  keyId: string;
  /** The JWKS' `x`: 32 bytes, base64url. */
  publicKey: string;
  createdAtMs: number;
  /** Time from which it signs, until a later key does. */
  signsFromMs: number;
  /** Set when an operator took it out of use at once, for example because it was stolen. */
  revokedAtMs?: number;
}

const notRevoked = <K extends SigningKey>(keys: readonly K[]): K[] =>
  keys.filter(({ revokedAtMs }) => revokedAtMs === undefined);

/** Finds the key that signs at a moment: the newest of those that may. */
export function signerAt<K extends SigningKey>(keys: readonly K[], atMs: number): K | undefined {
  return notRevoked(keys)
    .filter(({ signsFromMs }) => signsFromMs <= atMs)
    .sort((a, b) => b.signsFromMs - a.signsFromMs)[0];
}

/** Finds the key that is published and does not sign yet, if a rotation is under way. */
export function nextSigner(keys: readonly SigningKey[], atMs: number): SigningKey | undefined {
  return notRevoked(keys).find(({ signsFromMs }) => signsFromMs > atMs);
}

/**
 * Lists the keys of the JWKS at a moment, newest first: those whose successor has not signed for
 * `PUBLISHED_MS`.
 */
export function publishedAt<K extends SigningKey>(keys: readonly K[], atMs: number): K[] {
  return notRevoked(keys)
    .filter(
      (key) =>
        !notRevoked(keys).some(
          (later) => later.signsFromMs > key.signsFromMs && later.signsFromMs + PUBLISHED_MS <= atMs,
        ),
    )
    .sort((a, b) => b.signsFromMs - a.signsFromMs);
}

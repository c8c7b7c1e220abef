/** Public keys whose signatures on model packages are trusted (`registry.trustedKeys`). */
import { createHash, createPublicKey, type KeyObject } from "node:crypto";

/**
 * Parses public Ed25519 keys: PEM blocks, or the base64 text of such a block, separated by commas or white
 * space. Throws an error that names what is wrong with which of them.
 */
export function parseTrustedKeys(text: string): KeyObject[] {
  const keys = text
    .replace(/-----[A-Z ]+-----/g, " ")
    .split(/[\s,]+/)
    .filter(Boolean);
  if (keys.length === 0) throw new Error("must have at least one public key");
  return keys.map((key, index) => {
    const parsed = publicKeyOf(key);
    if (parsed?.asymmetricKeyType !== "ed25519")
      throw new Error(
        `must be public Ed25519 keys, as \`tempera models keygen\` prints them; number ${index + 1} is none`,
      );
    return parsed;
  });
}

function publicKeyOf(base64: string): KeyObject | undefined {
  try {
    return createPublicKey({ key: Buffer.from(base64, "base64"), format: "der", type: "spki" });
  } catch {
    return undefined;
  }
}

/** Gives the public key as one line of base64, the form that settings take. */
export const publicKeyText = (key: KeyObject): string =>
  key.export({ format: "der", type: "spki" }).toString("base64");

/** Names a public key: the first 16 hex digits of the SHA-256 of its DER form. */
export const keyIdOf = (key: KeyObject): string =>
  createHash("sha256")
    .update(key.export({ format: "der", type: "spki" }))
    .digest("hex")
    .slice(0, 16);

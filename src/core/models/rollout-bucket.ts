/** Shares: which of many a part of a hundred falls on, the same every time. */
import { createHash } from "node:crypto";

/**
 * Where `subject` stands within `of`, from 0 up to 100: it belongs to a share of n % when it stands below n.
 * Raising a share keeps everybody who was in it. Evenly spread and, for two different `of`, unrelated: the
 * first 32 bits of a SHA-256.
 *
 *     placeWithin("fal-ai/qwen-image", "0191…") // 73.04…
 */
export function rolloutBucket(of: string, subject: string): number {
  const digest = createHash("sha256").update(of).update("\n").update(subject).digest();
  return (digest.readUInt32BE(0) / 2 ** 32) * 100;
}

import { createHmac } from "node:crypto";
import type { Config } from "../config/settings.ts";
import { LIMITS } from "../core/limits.ts";
import {
  type PayloadKey,
  type PayloadKeyRecord,
  type PayloadKeys,
  parsePayloadKeys,
} from "../core/operations/payload-keys.ts";

/** The configured keys; without any, nothing is encrypted and nothing decrypts. */
export const payloadKeysOf = ({ temporal }: Config): PayloadKeys =>
  temporal.payloadKeys ? parsePayloadKeys(temporal.payloadKeys) : { newest: undefined, byId: new Map() };

/**
 * Refuses to start without a key that lately encrypted what Temporal still holds, or with another one of its
 * id: every job that waits would use up its attempts on inputs that nobody can read. Rejects with a sentence
 * that names the key and the remedy.
 *
 * The key that encrypts now is noted, and again every while for as long as the process runs; with how to end
 * that.
 */
export async function guardPayloadKeys(
  { newest, byId }: PayloadKeys,
  record: PayloadKeyRecord,
): Promise<() => void> {
  for (const { id, checkValue } of await record.used(LIMITS.payloadKeyKeptMs)) {
    const given = byId.get(id);
    if (!given) {
      throw new Error(
        `TEMPERA_PAYLOAD_KEYS lacks the key "${id}", which encrypted what Temporal may still hold; add it behind the others (docs/hardening.md).`,
      );
    }
    if (checkValueOf(given) !== checkValue) {
      throw new Error(
        `TEMPERA_PAYLOAD_KEYS has another key under the id "${id}" than the one that encrypted what Temporal may still hold; correct it.`,
      );
    }
  }
  if (!newest) return () => {};
  const note = () => record.note({ id: newest.id, checkValue: checkValueOf(newest) });
  await note();
  const timer = setInterval(() => void note().catch(() => {}), LIMITS.payloadKeyNoteMs).unref();
  return () => clearInterval(timer);
}

const checkValueOf = ({ bytes }: PayloadKey): string =>
  createHmac("sha256", bytes).update("tempera payload key").digest("hex").slice(0, 16);

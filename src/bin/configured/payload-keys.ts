import { createHmac } from "node:crypto";
import type { Config } from "../../config/settings.ts";
import { PeriodicTask } from "../../core/concurrency/periodic-task.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Log } from "../../core/operations/log.ts";
import {
  type PayloadKey,
  type PayloadKeyRecord,
  type PayloadKeys,
  parsePayloadKeys,
} from "../../core/operations/payload-keys.ts";

/**
 * Reads the configured keys; without any, nothing is encrypted or decrypted. Throws when bound data is
 * required and no key encrypts.
 */
export function payloadKeysOf({ temporal }: Config): PayloadKeys {
  const keys = temporal.payloadKeys
    ? parsePayloadKeys(temporal.payloadKeys)
    : { newest: undefined, byId: new Map() };
  if (temporal.payloadBinding === "required" && !keys.newest)
    throw new Error(
      "TEMPERA_PAYLOAD_BINDING is required, and TEMPERA_PAYLOAD_KEYS has no key that encrypts; " +
        "add one as the first, or set TEMPERA_PAYLOAD_BINDING to on.",
    );
  return keys;
}

/**
 * Refuses to start without a key that recently encrypted data which Temporal may still hold, or with a
 * different key of the same id: every waiting job would use up its attempts on inputs that nobody can read.
 * Rejects with a sentence that names the key and the remedy.
 *
 * Records the use of the newest key, now and at intervals (`LIMITS.payloadKeyNoteMs`) until `stop`.
 */
export async function guardPayloadKeys(
  { newest, byId }: PayloadKeys,
  record: PayloadKeyRecord,
  log: Log,
): Promise<{ stop(): Promise<void> }> {
  for (const { id, checkValue } of await record.used(LIMITS.payloadKeyKeptMs)) {
    const given = byId.get(id);
    if (!given) {
      throw new Error(
        `TEMPERA_PAYLOAD_KEYS lacks the key "${id}", which encrypted data that Temporal may still hold; ` +
          "add it after the others (docs/hardening.md).",
      );
    }
    if (checkValueOf(given) !== checkValue) {
      throw new Error(
        `TEMPERA_PAYLOAD_KEYS has another key under the id "${id}" than the one that encrypted data ` +
          "which Temporal may still hold; restore that key, or give the new one another id.",
      );
    }
  }
  if (!newest) return { stop: async () => {} };
  const note = () => record.note({ id: newest.id, checkValue: checkValueOf(newest) });
  await note();
  const description = "recording the use of the payload key";
  return new PeriodicTask(note, { everyMs: LIMITS.payloadKeyNoteMs, description, log });
}

const checkValueOf = ({ bytes }: PayloadKey): string =>
  createHmac("sha256", bytes).update("tempera payload key").digest("hex").slice(0, 16);

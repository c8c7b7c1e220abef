import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import type { Payload, PayloadCodec } from "@temporalio/common";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { PayloadKeys } from "../../core/operations/payload-keys.ts";
import { decodePayload, encodePayload } from "./payload-wire.ts";

/** Metadata of encrypted payloads, as in Temporal's own samples, so that their codec servers can read it. */
const ENCODING = "encoding";
const ENCRYPTED = "binary/encrypted";
const KEY_ID = "encryption-key-id";

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/**
 * Creates the codec that encrypts what Temporal stores of a workflow: inputs, outputs, memos, summaries,
 * signals, heartbeats and failures. Ids, types, task queues and search attributes are no payloads and stay
 * readable, since the server works with them.
 *
 * Each payload is encrypted with AES-256-GCM and a nonce of its own: `nonce (12 bytes) ‖ ciphertext ‖ tag (16
 * bytes)` of the protobuf `Payload`. Without a newest key the codec only decrypts. Payloads that are not
 * encrypted pass through, so encryption can be turned on while jobs run.
 *
 * `decode` rejects with `payload_unreadable` when the key is not configured, or does not fit the bytes.
 */
export function createPayloadCodec({ newest, byId }: PayloadKeys): Required<PayloadCodec> {
  const seal = (payload: Payload): Payload => {
    if (!newest) return payload;
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv("aes-256-gcm", newest.bytes, nonce);
    const data = Buffer.concat([
      nonce,
      cipher.update(encodePayload(payload)),
      cipher.final(),
      cipher.getAuthTag(),
    ]);
    return { metadata: { [ENCODING]: Buffer.from(ENCRYPTED), [KEY_ID]: Buffer.from(newest.id) }, data };
  };

  const open = (payload: Payload): Payload => {
    if (textOf(payload, ENCODING) !== ENCRYPTED) return payload;
    const id = textOf(payload, KEY_ID);
    const key = byId.get(id);
    if (!key) {
      const given = byId.size > 0 ? `only ${[...byId.keys()].join(", ")}` : "none";
      throw new TemperaError(
        "payload_unreadable",
        `What Temporal stores is encrypted with the key "${id.slice(0, 64)}", and this process was given ` +
          `${given}; add it to TEMPERA_PAYLOAD_KEYS.`,
      );
    }
    try {
      const data = Buffer.from(payload.data ?? []);
      const decipher = createDecipheriv("aes-256-gcm", key.bytes, data.subarray(0, NONCE_BYTES));
      decipher.setAuthTag(data.subarray(Math.max(NONCE_BYTES, data.length - TAG_BYTES)));
      return decodePayload(
        Buffer.concat([decipher.update(data.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]),
      );
    } catch (error) {
      throw new TemperaError(
        "payload_unreadable",
        `What Temporal stores names the key "${id}", and the key of that id in TEMPERA_PAYLOAD_KEYS ` +
          "does not open it: it is another key, or the bytes were changed.",
        { cause: error },
      );
    }
  };

  return {
    encode: async (payloads) => payloads.map(seal),
    decode: async (payloads) => payloads.map(open),
  };
}

const textOf = (payload: Payload, name: string): string =>
  Buffer.from(payload.metadata?.[name] ?? []).toString();

import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import type { Payload, PayloadCodec, SerializationContext } from "@temporalio/common";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { PayloadBinding, PayloadKey, PayloadKeys } from "../../core/operations/payload-keys.ts";
import { decodePayload, encodePayload } from "./payload-wire.ts";

/** Metadata of encrypted payloads, named as in Temporal's own samples. */
const ENCODING = "encoding";
const ENCRYPTED = "binary/encrypted";
const KEY_ID = "encryption-key-id";
/** The location that the payload is bound to. The codec server reads it; others know their own. */
const LOCATION = "encryption-location";

/** The end of the id of a workflow that a schedule starts: `-2026-11-30T03:00:00Z`. Temporal appends it. */
const SCHEDULED_AT = /-\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/;

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/**
 * Creates the codec that encrypts what Temporal stores of a workflow: inputs, outputs, memos, summaries,
 * signals, heartbeats and failures. Ids, types, task queues and search attributes are no payloads and stay
 * readable, since the server works with them.
 *
 * Each payload is encrypted with AES-256-GCM and a nonce of its own: `nonce (12 bytes) ‖ ciphertext ‖ tag (16
 * bytes)` of the protobuf `Payload`, with its location (`locationOf`) as associated data. Without a newest
 * key the codec only decrypts. Payloads that are not encrypted, or were encrypted without a location, are
 * read unless the binding is `required`; so encryption can be turned on while jobs run.
 *
 * `decode` rejects with `payload_unreadable` when the key is not configured or does not fit the bytes, and
 * when a payload is found in another location than its own. Without a context it checks no location: the
 * codec server shows payloads and acts on none.
 */
export function createPayloadCodec(
  { newest, byId }: PayloadKeys,
  binding: PayloadBinding = "on",
): Required<PayloadCodec> {
  const isRequired = newest !== undefined && binding === "required";

  const seal = (payload: Payload, location: string | undefined): Payload => {
    if (!newest) return payload;
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv("aes-256-gcm", newest.bytes, nonce);
    if (location !== undefined) cipher.setAAD(Buffer.from(location));
    const data = Buffer.concat([
      nonce,
      cipher.update(encodePayload(payload)),
      cipher.final(),
      cipher.getAuthTag(),
    ]);
    return {
      metadata: {
        [ENCODING]: Buffer.from(ENCRYPTED),
        [KEY_ID]: Buffer.from(newest.id),
        ...(location !== undefined && { [LOCATION]: Buffer.from(location) }),
      },
      data,
    };
  };

  const open = (payload: Payload, expected: string | undefined): Payload => {
    const isEncrypted = textOf(payload, ENCODING) === ENCRYPTED;
    const location = isEncrypted ? textOf(payload, LOCATION) : "";
    if (expected !== undefined) checkLocation({ isEncrypted, location, expected, isRequired });
    return isEncrypted ? decrypt(payload, keyOf(payload, byId), location) : payload;
  };

  const encodeLocation = (context: SerializationContext | undefined) =>
    context && binding !== "off" ? locationOf(context) : undefined;
  return {
    async encode(payloads, context) {
      const location = encodeLocation(context);
      return payloads.map((payload) => seal(payload, location));
    },
    async decode(payloads, context) {
      const expected = context && locationOf(context);
      return payloads.map((payload) => open(payload, expected));
    },
  };
}

/** Throws unless a payload, bound to `location` or to none (""), may be read in the location `expected`. */
function checkLocation(found: {
  isEncrypted: boolean;
  location: string;
  expected: string;
  isRequired: boolean;
}): void {
  const { isEncrypted, location, expected, isRequired } = found;
  if (location === expected || (location === "" && !isRequired)) return;
  if (location !== "")
    throw new TemperaError(
      "payload_unreadable",
      `What Temporal stores at ${expected} was encrypted for ${location.slice(0, 200)}: ` +
        "it was copied there. Find out who writes to Temporal's database, and terminate the workflow.",
    );
  throw new TemperaError(
    "payload_unreadable",
    `What Temporal stores at ${expected} is ` +
      `${isEncrypted ? "encrypted for no location" : "not encrypted"}, ` +
      "and TEMPERA_PAYLOAD_BINDING is required: it is older than that setting, or somebody else wrote it. " +
      'Set it to "on" until workflows from before have ended, or terminate the workflow.',
  );
}

function keyOf(payload: Payload, byId: PayloadKeys["byId"]): PayloadKey {
  const id = textOf(payload, KEY_ID);
  const key = byId.get(id);
  if (key) return key;
  const given = byId.size > 0 ? `only ${[...byId.keys()].join(", ")}` : "none";
  throw new TemperaError(
    "payload_unreadable",
    `What Temporal stores is encrypted with the key "${id.slice(0, 64)}", and this process was given ` +
      `${given}; add it to TEMPERA_PAYLOAD_KEYS.`,
  );
}

function decrypt(payload: Payload, key: PayloadKey, location: string): Payload {
  try {
    const data = Buffer.from(payload.data ?? []);
    const decipher = createDecipheriv("aes-256-gcm", key.bytes, data.subarray(0, NONCE_BYTES), {
      authTagLength: TAG_BYTES,
    });
    decipher.setAAD(Buffer.from(location));
    decipher.setAuthTag(data.subarray(Math.max(NONCE_BYTES, data.length - TAG_BYTES)));
    return decodePayload(
      Buffer.concat([decipher.update(data.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]),
    );
  } catch (error) {
    throw new TemperaError(
      "payload_unreadable",
      `What Temporal stores names the key "${key.id}", and the key of that id in TEMPERA_PAYLOAD_KEYS ` +
        "does not open it: it is another key, or the bytes were changed.",
      { cause: error },
    );
  }
}

const textOf = (payload: Payload, name: string): string =>
  Buffer.from(payload.metadata?.[name] ?? []).toString();

/**
 * Returns the location that a payload belongs to, as text: the namespace, the workflow, and the activity
 * where it is one's argument, result or heartbeat. Equal locations have equal texts, and no others.
 *
 * The runs of a schedule are one location, since Temporal hands the result of each run to the next.
 *
 * @example locationOf({ type: "workflow", namespace: "tempera", workflowId: "019a…" })
 * // → "workflow/tempera/019a…"
 */
export function locationOf(context: SerializationContext): string {
  const { type, namespace, workflowId = "" } = context;
  const parts = [type, namespace, workflowId.replace(SCHEDULED_AT, "")];
  if (context.type === "activity") parts.push(context.activityId ?? "");
  return parts.map(encodeURIComponent).join("/");
}

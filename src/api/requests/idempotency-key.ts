import { createHash } from "node:crypto";
import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { canonicalJson } from "../../core/json/input-hash.ts";
import type { Json } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";

const IDEMPOTENCY_HEADERS = ["idempotency-key", "x-idempotency-key"] as const;

/** The header of an answer that repeats the one to a previous call with the same key. */
export const REPLAYED_HEADER = "idempotent-replayed";

/**
 * Reads the idempotency key of a call; `undefined` when it has none. Throws `input_invalid` for a malformed
 * key, and for two headers that differ.
 */
export function idempotencyKeyOf(c: Context): string | undefined {
  const given = IDEMPOTENCY_HEADERS.flatMap((name) => {
    const value = c.req.header(name)?.trim();
    return value === undefined ? [] : [{ name, value }];
  });
  const [first, second] = given;
  if (!first) return undefined;
  const invalid = (msg: string): TemperaError =>
    new TemperaError("input_invalid", `${first.name}: ${msg}`, {
      faults: [{ loc: ["header", first.name], msg, type: "value_error" }],
    });
  if (second && second.value !== first.value)
    throw invalid(`The headers ${IDEMPOTENCY_HEADERS.join(" and ")} name different keys; send one`);
  if (
    first.value.length > LIMITS.idempotencyKeyCharactersMax ||
    !/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(first.value)
  )
    throw invalid(`A key is 1 to ${LIMITS.idempotencyKeyCharactersMax} printable ASCII characters`);
  return first.value;
}

/** Computes the SHA-256 of an endpoint and an input, hex. The order of fields in objects does not matter. */
export function fingerprintOf(endpoint: string, input: Json): string {
  return createHash("sha256").update(endpoint).update("\n").update(canonicalJson(input)).digest("hex");
}

/** Makes the refusal of a key that was used with another input; names the request of that input. */
export function idempotencyKeyReused(key: string, requestId: string): TemperaError {
  const msg =
    `The idempotency key "${key}" was used with another input before, for the request ${requestId}; ` +
    "take a new key for a new input";
  return new TemperaError("idempotency_key_reused", msg, {
    faults: [{ loc: ["header", "idempotency-key"], msg, type: "value_error" }],
  });
}

import { createHash } from "node:crypto";
import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { canonicalJson } from "../../core/json/input-hash.ts";
import type { Json } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";

const IDEMPOTENCY_HEADERS = ["idempotency-key", "x-idempotency-key"] as const;

/** On an answer that an earlier call with the same key was given. */
export const REPLAYED_HEADER = "idempotent-replayed";

/**
 * The idempotency key that a call carries, if one. Throws `input_invalid` for what is none, and for two that
 * differ.
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

/**
 * SHA-256 of what a call asks for, hex: the same for the same values, in whatever order the fields of its
 * objects come.
 */
export function fingerprintOf(address: string, input: Json): string {
  return createHash("sha256").update(address).update("\n").update(canonicalJson(input)).digest("hex");
}

/** The refusal of a key that was another input's: names the key and what came of that input. */
export function reusedKey(key: string, requestId: string): TemperaError {
  const msg = `The idempotency key "${key}" was used with another input before, for the request ${requestId}; take a new key for a new input`;
  return new TemperaError("idempotency_key_reused", msg, {
    faults: [{ loc: ["header", "idempotency-key"], msg, type: "value_error" }],
  });
}

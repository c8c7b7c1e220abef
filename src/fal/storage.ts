/** fal's storage wire (contract §6): headers, bodies and paths of uploads and files. Pure translation. */

import { type InputFault, TemperaError } from "../core/errors/tempera-error.ts";
import type { Acl, Decision, Lifecycle } from "../core/files/lifecycle.ts";
import { parseJson } from "../core/json/exact-json.ts";
import { isObject, type Json, type JsonObject } from "../core/json/json.ts";
import { LIMITS } from "../core/limits.ts";

/** The lifecycle header of uploads. */
export const LIFECYCLE_HEADER = "x-fal-object-lifecycle";
/**
 * The lifecycle header of calls, for the files that a model produces. Python's client uploads with it too.
 */
export const LIFECYCLE_PREFERENCE_HEADER = "x-fal-object-lifecycle-preference";

/** fal's names for lifetimes, in seconds; `undefined` for a file that never expires. */
const LIFETIMES: ReadonlyMap<unknown, number | undefined> = new Map<unknown, number | undefined>([
  ["never", undefined],
  ["immediate", 60],
  ["1h", 3_600],
  ["1d", 86_400],
  ["7d", 604_800],
  ["30d", 2_592_000],
  ["1y", 31_536_000],
]);
const STORAGE_TYPES = ["fal-cdn-v3", "fal-cdn", "gcs"];
const DECISIONS: readonly unknown[] = ["allow", "forbid", "hide"] satisfies Decision[];
/** `type/subtype`, with or without parameters, in characters that a header may have. */
const CONTENT_TYPE = /^[\w!#$&^.+-]{1,100}\/[\w!#$&^.+-]{1,100}(?:\s*;[\x20-\x7e]{0,200})?$/;

const fault = (loc: InputFault["loc"], msg: string, type: string): TemperaError =>
  new TemperaError("input_invalid", undefined, { faults: [{ loc, msg, type }] });

/**
 * Reads a lifecycle header: JSON of `expiration_duration_seconds` (seconds, one of `LIFETIMES`, or null for
 * never) and `initial_acl`. Throws `input_invalid` when it cannot be read: a file that its owner wants
 * private must not become public.
 */
function readLifecycle(header: string | undefined, name: string = LIFECYCLE_HEADER): Lifecycle {
  if (header === undefined || header.trim() === "") return {};
  const loc = ["header", name];
  let value: unknown;
  try {
    value = parseJson(header);
  } catch {
    throw fault(loc, "Input should be JSON", "value_error");
  }
  if (value === null) return {};
  if (!isObject(value)) throw fault(loc, "Input should be a JSON object", "dict_type");
  refuseOthers(value, ["expiration_duration_seconds", "initial_acl"], loc);
  const lifetimeSeconds = readLifetime(value.expiration_duration_seconds, [
    ...loc,
    "expiration_duration_seconds",
  ]);
  const acl = readAcl(value.initial_acl, [...loc, "initial_acl"]);
  return { ...(lifetimeSeconds !== undefined && { lifetimeSeconds }), ...(acl && { acl }) };
}

/**
 * Refuses fields of other names. Their sender believes them to be in force: an access list under a misspelt
 * name would leave the file public.
 */
function refuseOthers(value: object, names: readonly string[], loc: InputFault["loc"]): void {
  const other = Object.keys(value).find((name) => !names.includes(name));
  if (other !== undefined)
    throw fault(
      [...loc, other],
      `Extra inputs are not permitted; fields are ${names.join(", ")}`,
      "extra_forbidden",
    );
}

/** Tells whether a lifecycle header sets a lifetime. `null` and `never` do: they mean for ever. */
export function setsLifetime(header: string | undefined): boolean {
  try {
    const value: unknown = parseJson(header ?? "");
    return typeof value === "object" && value !== null && Object.hasOwn(value, "expiration_duration_seconds");
  } catch {
    return false;
  }
}

/**
 * Merges a call's lifecycle header with its owner's defaults; fields of the header win. A header without an
 * access list leaves the default one in force: it must not make public what its owner keeps private.
 */
export function resolveLifecycle(
  header: string | undefined,
  name: string,
  defaults: Lifecycle | undefined,
): Lifecycle {
  const requested = readLifecycle(header, name);
  if (!defaults) return requested;
  if (header === undefined || header.trim() === "") return defaults;
  return { ...requested, ...(!requested.acl && defaults.acl && { acl: defaults.acl }) };
}

function readLifetime(value: Json | undefined, loc: InputFault["loc"]): number | undefined {
  if (value === undefined || value === null || LIFETIMES.has(value)) return LIFETIMES.get(value);
  if (typeof value !== "number" || !(value > 0))
    throw fault(
      loc,
      `Input should be a number of seconds above 0, null, or one of ${[...LIFETIMES.keys()].join(", ")}`,
      "value_error",
    );
  return value > LIMITS.fileLifetimeSecondsMax ? undefined : value;
}

/** Reads `{default, rules: [{user, decision}]}`; `undefined` when absent. Throws `input_invalid`. */
function readAcl(value: unknown, loc: InputFault["loc"]): Acl | undefined {
  if (value === undefined || value === null) return undefined;
  if (!isObject(value)) throw fault(loc, "Input should be a JSON object", "dict_type");
  refuseOthers(value, ["default", "rules"], loc);
  const { default: fallback = "allow", rules = [] } = value;
  const decision = (given: Json | undefined, at: InputFault["loc"]): Decision => {
    if (!DECISIONS.includes(given)) throw fault(at, `Input should be ${DECISIONS.join(", ")}`, "one_of");
    return given as Decision;
  };
  if (rules !== null && !Array.isArray(rules))
    throw fault([...loc, "rules"], "Input should be a list", "list_type");
  if ((rules?.length ?? 0) > LIMITS.aclRulesMax)
    throw fault(
      [...loc, "rules"],
      `List should have at most ${LIMITS.aclRulesMax} items`,
      "sequence_too_long",
    );
  return {
    default: decision(fallback, [...loc, "default"]),
    rules: (rules ?? []).map((rule, at) => {
      if (!isObject(rule)) throw fault([...loc, "rules", at], "Input should be a JSON object", "dict_type");
      refuseOthers(rule, ["user", "decision"], [...loc, "rules", at]);
      const { user } = rule;
      if (typeof user !== "string" || user === "" || user.length > LIMITS.aclUserCharactersMax)
        throw fault(
          [...loc, "rules", at, "user"],
          `Input should be text of 1 to ${LIMITS.aclUserCharactersMax} characters`,
          "string_type",
        );
      return { user, decision: decision(rule.decision, [...loc, "rules", at, "decision"]) };
    }),
  };
}

/**
 * Reads a content type that a header may have, by default `application/octet-stream`. Throws `input_invalid`.
 */
export function readContentType(value: unknown, loc: InputFault["loc"]): string {
  if (value === undefined || value === null || value === "") return "application/octet-stream";
  if (typeof value !== "string") throw fault(loc, "Input should be a valid string", "string_type");
  if (!CONTENT_TYPE.test(value))
    throw fault(loc, "Input should be a content type like image/png", "value_error");
  return value;
}

/** Reads the body of both initiate calls. `fileName` is as the caller sent it. Throws `input_invalid`. */
export function readInitiate(
  body: Json,
  storageType: string | undefined,
): { contentType: string; fileName?: string } {
  if (storageType !== undefined && storageType !== "" && !STORAGE_TYPES.includes(storageType))
    throw fault(["query", "storage_type"], `Input should be ${STORAGE_TYPES.join(", ")}`, "one_of");
  if (!isObject(body)) throw fault(["body"], "Input should be a valid dictionary", "model_attributes_type");
  const { content_type, file_name } = body;
  if (file_name !== undefined && file_name !== null && typeof file_name !== "string")
    throw fault(["body", "file_name"], "Input should be a valid string", "string_type");
  return {
    contentType: readContentType(content_type, ["body", "content_type"]),
    ...(typeof file_name === "string" && { fileName: file_name }),
  };
}

/**
 * Reads the body that completes an upload: `{parts: [{partNumber, etag}]}` in any order, etags with or
 * without quotes. Throws `input_invalid`.
 */
export function readParts(body: Json): { number: number; etag: string }[] {
  const parts = isObject(body) ? body.parts : undefined;
  if (!Array.isArray(parts)) throw fault(["body", "parts"], "Input should be a valid list", "list_type");
  if (parts.length > LIMITS.uploadPartsMax)
    throw fault(
      ["body", "parts"],
      `List should have at most ${LIMITS.uploadPartsMax} items`,
      "sequence_too_long",
    );
  return parts.map((part, at) => {
    const loc = ["body", "parts", at];
    if (!isObject(part)) throw fault(loc, "Input should be a valid dictionary", "dict_type");
    const number = part.partNumber ?? part.part_number;
    if (typeof number !== "number" || !Number.isInteger(number))
      throw fault([...loc, "partNumber"], "Input should be a whole number", "int_type");
    if (typeof part.etag !== "string")
      throw fault([...loc, "etag"], "Input should be a valid string", "string_type");
    return { number, etag: part.etag.replace(/^W\//, "").replaceAll('"', "") };
  });
}

/** Reads the body of `POST {file}/sign`. Returns seconds. Throws `input_invalid`. */
export function readSign(body: Json): number {
  if (!isObject(body)) throw fault(["body"], "Input should be a valid dictionary", "model_attributes_type");
  const { duration = 3_600, scope = ["read"] } = body;
  const longest = LIMITS.signedAddressSecondsMax;
  if (typeof duration !== "number" || !(duration > 0 && duration <= longest))
    throw fault(
      ["body", "duration"],
      `Input should be a number of seconds above 0, at most ${longest}`,
      "value_error",
    );
  if (!Array.isArray(scope) || scope.length === 0 || scope.some((item) => item !== "read"))
    throw fault(["body", "scope"], 'Input should be ["read"]', "one_of");
  return duration;
}

/**
 * Builds the answer of the CDN token call. The time has an offset and no fraction: older Pythons cannot read
 * any other form (contract §6.2).
 *
 * @param filesRoot `http://localhost:8080/files`; clients append `/files/upload/multipart` to `base_url`
 */
export function cdnTokenBody(token: string, expiresAtMs: number, filesRoot: string): JsonObject {
  return {
    token,
    token_type: "Bearer",
    base_url: filesRoot.replace(/\/files$/, ""),
    expires_at: `${new Date(expiresAtMs).toISOString().slice(0, 19)}+00:00`,
  };
}

/** A parsed path on the files tree. */
export type FilePath =
  /** An artifact without a record: `ab/ab12….png`. */
  | { kind: "artifact"; path: string; sign: boolean }
  | { kind: "file"; fileId: string; name: string; sign: boolean }
  /**
   * One part of an upload, or its completion. Python's form has an `uploadId`, JavaScript's a signed address.
   */
  | { kind: "part"; fileId: string; name: string; uploadId?: string; part: number }
  | { kind: "complete"; fileId: string; name: string; uploadId?: string }
  /** A whole file in one body, or the beginning of one in parts. */
  | { kind: "upload" | "multipart" };

const ARTIFACT = /^[0-9a-f]{2}\/[0-9a-f]{64}\.[a-z0-9]{1,8}$/;
const FILE_ID = /^[0-9a-f]{32}$/;

/**
 * Parses a path below the files root; `undefined` when it fits no shape. A doubled `files/` is ignored: some
 * callers append it to a root that ends with it.
 *
 * @param path without a leading slash
 */
export function parseFilePath(path: string): FilePath | undefined {
  const segments = path.split("/").filter((segment) => segment !== "");
  if (segments[0] === "files") segments.shift();
  const sign = segments.at(-1) === "sign" && segments.length === 3;
  const [first = "", name = "", ...rest] = segments;
  if (first === "upload")
    return segments.length === 1
      ? { kind: "upload" }
      : name === "multipart" && rest.length === 0
        ? { kind: "multipart" }
        : undefined;
  const artifact = `${first}/${name}`;
  if (ARTIFACT.test(artifact))
    return rest.length === 0 || sign ? { kind: "artifact", path: artifact, sign } : undefined;
  if (!FILE_ID.test(first) || name === "") return undefined;
  if (rest.length === 0 || sign) return { kind: "file", fileId: first, name, sign };
  const [uploadId, step] =
    rest[0] === "multipart"
      ? [rest[1], rest.length === 3 ? rest[2] : undefined]
      : [undefined, rest.length === 1 ? rest[0] : undefined];
  if (step === undefined) return undefined;
  const about = { fileId: first, name, ...(uploadId !== undefined && { uploadId }) };
  if (step === "complete") return { kind: "complete", ...about };
  return /^\d{1,6}$/.test(step) ? { kind: "part", ...about, part: Number(step) } : undefined;
}

import { createHmac, timingSafeEqual } from "node:crypto";
import { TemperaError } from "../errors/tempera-error.ts";
import { writeJson } from "../json/exact-json.ts";
import type { Clock } from "../operations/clock.ts";

/**
 * Signatures in addresses, in place of an `Authorization` header. Each is an HMAC-SHA256 with the
 * installation's secret `uploads`, so that every gateway accepts the signatures of the others and none is
 * stored.
 */
export interface Signatures {
  /** Makes the query `?upload=…`, with which anybody can send the bytes of a file until `untilMs`. */
  uploadQuery(fileId: string, untilMs: number): string;
  /** Throws `upload_forbidden` when the value of that query is forged, of another file, or expired. */
  checkUpload(fileId: string, value: string | undefined): void;
  /** Makes the query `?identity=…`, which reads a file on behalf of an owner until `untilMs`. */
  identityQuery(fileId: string, ownerId: string, untilMs: number): string;
  /**
   * Gives the owner in the value of that query; `undefined` when it is forged, of another file, or expired.
   */
  identityOf(fileId: string, value: string | undefined): string | undefined;
}

const seconds = (ms: number): string => String(Math.floor(ms / 1000));

export function createSignatures({ secret, clock }: { secret: Uint8Array; clock: Clock }): Signatures {
  /** Signs fields. The first one names the use, so that no signature is valid for another use. */
  const sign = (...fields: string[]): string =>
    createHmac("sha256", secret).update(writeJson(fields)).digest("base64url");
  const matches = (given: string, expected: string): boolean =>
    given.length === expected.length && timingSafeEqual(Buffer.from(given), Buffer.from(expected));
  const passed = (until: string): boolean => Number(until) * 1000 <= clock.nowMs();

  return {
    uploadQuery(fileId, untilMs) {
      const until = seconds(untilMs);
      return `?upload=${until}.${sign("upload", fileId, until)}`;
    },
    checkUpload(fileId, value) {
      const [, until = "", given = ""] = /^(\d{1,12})\.([\w-]{43})$/.exec(value ?? "") ?? [];
      if (!matches(given, sign("upload", fileId, until)) || passed(until))
        throw new TemperaError("upload_forbidden");
    },
    identityQuery(fileId, ownerId, untilMs) {
      const until = seconds(untilMs);
      const owner = Buffer.from(ownerId).toString("base64url");
      return `?identity=${until}.${owner}.${sign("read", fileId, ownerId, until)}`;
    },
    identityOf(fileId, value) {
      const [, until = "", owner = "", given = ""] =
        /^(\d{1,12})\.([\w-]{1,1000})\.([\w-]{43})$/.exec(value ?? "") ?? [];
      const ownerId = Buffer.from(owner, "base64url").toString();
      return matches(given, sign("read", fileId, ownerId, until)) && !passed(until) ? ownerId : undefined;
    },
  };
}

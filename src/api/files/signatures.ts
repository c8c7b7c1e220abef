import { createHmac, timingSafeEqual } from "node:crypto";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { Clock } from "../../core/operations/clock.ts";

/**
 * What stands in addresses instead of a header. Each is an HMAC-SHA256 with the installation's secret
 * `uploads`, so every gateway takes what another has signed, and nothing is stored.
 */
export interface Signatures {
  /** The query `?upload=…` that lets whoever has it send the bytes of a file until `untilMs`. */
  uploadQuery(fileId: string, untilMs: number): string;
  /**
   * Throws `upload_forbidden` for a value of that query that was changed, is of another file, or has expired.
   */
  checkUpload(fileId: string, value: string | undefined): void;
  /** The query `?identity=…` that reads a file on behalf of an owner of keys until `untilMs`. */
  identityQuery(fileId: string, ownerId: string, untilMs: number): string;
  /**
   * On whose behalf a value of that query reads; `undefined` when it is not valid, of another file, or has
   * expired.
   */
  identityOf(fileId: string, value: string | undefined): string | undefined;
}

const seconds = (ms: number): string => String(Math.floor(ms / 1000));

export function createSignatures({ secret, clock }: { secret: Uint8Array; clock: Clock }): Signatures {
  /** The fields of different uses never look alike: their names are part of what is signed. */
  const sign = (...fields: string[]): string =>
    createHmac("sha256", secret).update(JSON.stringify(fields)).digest("base64url");
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
      return `?identity=${until}.${Buffer.from(ownerId).toString("base64url")}.${sign("read", fileId, ownerId, until)}`;
    },
    identityOf(fileId, value) {
      const [, until = "", owner = "", given = ""] =
        /^(\d{1,12})\.([\w-]{1,1000})\.([\w-]{43})$/.exec(value ?? "") ?? [];
      const ownerId = Buffer.from(owner, "base64url").toString();
      return matches(given, sign("read", fileId, ownerId, until)) && !passed(until) ? ownerId : undefined;
    },
  };
}

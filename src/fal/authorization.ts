import { TemperaError } from "../core/errors/tempera-error.ts";

export interface Credential {
  keyId: string;
  secret: string;
}

const KEY_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/**
 * Turns the `Basic` header of a browser (RFC 7617), whose name and password are a key's id and secret, into a
 * `Key` header. Returns any other header unchanged.
 */
export function basicToKey(header: string): string {
  const [, credential] = /^basic\s+([A-Za-z0-9+/=]+)$/i.exec(header.trim()) ?? [];
  return credential === undefined ? header : `Key ${Buffer.from(credential, "base64").toString()}`;
}

/**
 * Reads `Authorization: Key <id>:<secret>`; `Bearer` carries the same credential for login-style clients
 * (contract §9). Throws `key_missing` or `key_malformed`.
 *
 * @param app the application that the error sentence names
 */
export function readAuthorization(header: string | undefined, app: string | undefined): Credential {
  if (!header) {
    const text = app
      ? `Cannot access application "${app}". Authentication is required to access this application.`
      : "Authorization header is required";
    throw new TemperaError("key_missing", text);
  }
  const [, keyId, secret] = /^(?:key|bearer)\s+([^:\s]+):(\S+)$/i.exec(header.trim()) ?? [];
  if (!keyId || !secret || !KEY_ID.test(keyId)) throw new TemperaError("key_malformed");
  return { keyId: keyId.toLowerCase(), secret };
}

/** fal's webhooks (contract §8): bodies, headers, and the signed message. */

import type { ErrorInfo } from "../core/errors/tempera-error.ts";
import { writeJson } from "../core/json/exact-json.ts";
import type { SigningKey } from "../core/webhooks/signing-key.ts";
import { falError } from "./errors.ts";

export interface WebhookIds {
  requestId: string;
  /** The gateway's request id of the job's last attempt. */
  gatewayRequestId: string;
  /** Our addition: the request whose dead letter this one retries. */
  retryOf?: string;
}

const ids = ({ requestId, gatewayRequestId, retryOf }: WebhookIds) => ({
  request_id: requestId,
  gateway_request_id: gatewayRequestId,
  ...(retryOf && { retry_of: retryOf }),
});

/** Builds the text before and after an output's JSON in the body of a success, so that it can be streamed. */
export function okFrame(about: WebhookIds): { before: string; after: string } {
  return {
    before: `${writeJson({ ...ids(about), status: "OK" }).slice(0, -1)},"payload":`,
    after: "}",
  };
}

/** Builds the body of a success whose output cannot be written as JSON or no longer exists. */
export function payloadErrorBody(about: WebhookIds, reason: string): string {
  return writeJson({ ...ids(about), status: "OK", payload: null, payload_error: reason });
}

/** Builds the body of a failure: the status and the body that the result endpoint answers. */
export function errorBody(about: WebhookIds, error: ErrorInfo): string {
  const { status, body } = falError(error);
  return writeJson({
    ...ids(about),
    status: "ERROR",
    error: `Invalid status code: ${status}`,
    payload: body,
  });
}

export interface SignedParts {
  requestId: string;
  userId: string;
  /** Unix time in seconds, as text. */
  timestamp: string;
}

/**
 * Builds the signed message: four lines, without a line end after the last.
 *
 * @param bodySha256 SHA-256 of the body's bytes, lower-case hex
 */
export function webhookMessage({ requestId, userId, timestamp }: SignedParts, bodySha256: string): string {
  return [requestId, userId, timestamp, bodySha256].join("\n");
}

export function webhookHeaders(
  { requestId, userId, timestamp }: SignedParts,
  signature: Buffer,
): Record<string, string> {
  return {
    "content-type": "application/json",
    "x-fal-webhook-request-id": requestId,
    "x-fal-webhook-user-id": userId,
    "x-fal-webhook-timestamp": timestamp,
    "x-fal-webhook-signature": signature.toString("hex"),
  };
}

/** Builds the set of public keys that receivers fetch (RFC 7517, RFC 8037). */
export function jwksBody(keys: readonly SigningKey[]) {
  return {
    keys: keys.map(({ keyId, publicKey }) => ({
      kty: "OKP",
      crv: "Ed25519",
      x: publicKey,
      kid: keyId,
      use: "sig",
      alg: "EdDSA",
    })),
  };
}

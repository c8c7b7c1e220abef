/** fal's webhooks (contract §8): bodies, headers, and the message that is signed. */
import type { ErrorInfo } from "../core/errors/tempera-error.ts";
import type { SigningKey } from "../core/webhooks/signing-key.ts";
import { falError } from "./errors.ts";

export interface WebhookIds {
  requestId: string;
  /** Of the job's last attempt. */
  gatewayRequestId: string;
  /** Our addition: the request whose dead letter this one tries again. */
  retryOf?: string;
}

const ids = ({ requestId, gatewayRequestId, retryOf }: WebhookIds) => ({
  request_id: requestId,
  gateway_request_id: gatewayRequestId,
  ...(retryOf && { retry_of: retryOf }),
});

/**
 * What stands before and after an output's JSON in the body of a success, so that a big one can be streamed
 * in between.
 */
export const okFrame = (about: WebhookIds): { before: string; after: string } => ({
  before: `${JSON.stringify({ ...ids(about), status: "OK" }).slice(0, -1)},"payload":`,
  after: "}",
});

/** The body of a success whose output cannot stand in JSON, or is no longer there. */
export const payloadErrorBody = (about: WebhookIds, why: string): string =>
  JSON.stringify({ ...ids(about), status: "OK", payload: null, payload_error: why });

/** The body of a failure: the status and the body that the result endpoint answers. */
export function errorBody(about: WebhookIds, error: ErrorInfo): string {
  const { status, body } = falError(error);
  return JSON.stringify({
    ...ids(about),
    status: "ERROR",
    error: `Invalid status code: ${status}`,
    payload: body,
  });
}

export interface SignedParts {
  requestId: string;
  userId: string;
  /** Unix seconds, as text. */
  timestamp: string;
}

/** What is signed: four lines, without a line end. `bodySha256`: lower-case hex, of the body's bytes. */
export const webhookMessage = ({ requestId, userId, timestamp }: SignedParts, bodySha256: string): string =>
  [requestId, userId, timestamp, bodySha256].join("\n");

export const webhookHeaders = (
  { requestId, userId, timestamp }: SignedParts,
  signature: Buffer,
): Record<string, string> => ({
  "content-type": "application/json",
  "x-fal-webhook-request-id": requestId,
  "x-fal-webhook-user-id": userId,
  "x-fal-webhook-timestamp": timestamp,
  "x-fal-webhook-signature": signature.toString("hex"),
});

/** The public keys, as receivers fetch them (RFC 7517, RFC 8037). */
export const jwksBody = (keys: readonly SigningKey[]) => ({
  keys: keys.map(({ keyId, publicKey }) => ({
    kty: "OKP",
    crv: "Ed25519",
    x: publicKey,
    kid: keyId,
    use: "sig",
    alg: "EdDSA",
  })),
});

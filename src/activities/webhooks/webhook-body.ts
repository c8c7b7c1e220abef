import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import type { ObjectStore } from "../../core/files/object-store.ts";
import type { SignAddress } from "../../core/files/private-address.ts";
import { writeJson } from "../../core/json/exact-json.ts";
import { gatewayRequestId } from "../../core/requests/gateway-request-id.ts";
import type { WebhookDelivery } from "../../core/webhooks/webhook.ts";
import { errorBody, okFrame, payloadErrorBody, type WebhookIds } from "../../fal/webhook.ts";
import { createSignedText } from "./signed-text.ts";

export interface WebhookBodyDependencies {
  /** Holds the outputs over the inline limit. */
  objects: Pick<ObjectStore, "head" | "get">;
  /** Signs the private addresses of an output. */
  signAddress: SignAddress;
  /** Beginnings of the addresses of this platform's files. */
  roots: readonly string[];
}

export interface WebhookBody {
  bytes: number;
  /** Hexadecimal. */
  sha256: string;
  /** Returns the bytes, to be sent. */
  open(): Promise<Buffer | Readable>;
}

/**
 * Returns the body of a delivery. An output in the object store is read twice, to sign and to send it, and is
 * never in memory as a whole.
 */
export async function webhookBody(
  delivery: WebhookDelivery,
  { objects, ...addresses }: WebhookBodyDependencies,
): Promise<WebhookBody> {
  const { outcome, requestId, retryOf } = delivery;
  const ids: WebhookIds = {
    requestId,
    gatewayRequestId: gatewayRequestId(requestId, delivery.jobAttempts),
    ...(retryOf !== undefined && { retryOf }),
  };
  if (!outcome.ok) return bodyOfText(errorBody(ids, outcome.error));
  const frame = okFrame(ids);
  const signed = createSignedText(addresses, delivery.ownerId);
  if ("inline" in outcome.output)
    return bodyOfText(`${frame.before}${signed.of(writeJson(outcome.output.inline))}${frame.after}`);

  const { ref } = outcome.output;
  const info = await objects.head(ref);
  if (!info) return bodyOfText(payloadErrorBody(ids, "The output is no longer stored."));
  if (info.contentType !== "application/json")
    return bodyOfText(payloadErrorBody(ids, `The output is ${info.contentType}, not JSON.`));
  return streamedBody(async function* () {
    yield Buffer.from(frame.before);
    const found = await objects.get(ref);
    if (!found) throw new Error("the output was deleted while it was sent");
    yield* signed.ofChunks(found.body as AsyncIterable<Buffer>);
    yield Buffer.from(frame.after);
  });
}

function bodyOfText(text: string): WebhookBody {
  const buffer = Buffer.from(text);
  return {
    bytes: buffer.length,
    sha256: createHash("sha256").update(buffer).digest("hex"),
    open: async () => buffer,
  };
}

async function streamedBody(read: () => AsyncGenerator<Buffer>): Promise<WebhookBody> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of read()) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return {
    bytes,
    sha256: hash.digest("hex"),
    open: async () => Readable.from(read(), { objectMode: false }),
  };
}

import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { Context } from "@temporalio/activity";
import type { ObjectStore } from "../../core/files/object-store.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { GuardedHttp } from "../../core/operations/guarded-http.ts";
import { gatewayRequestId } from "../../core/requests/gateway-request-id.ts";
import type { DeliveryStore } from "../../core/webhooks/delivery-store.ts";
import type { SigningKeys } from "../../core/webhooks/signing-key-store.ts";
import { type DeliveryAttempt, hostOf, type WebhookDelivery } from "../../core/webhooks/webhook.ts";
import {
  errorBody,
  okFrame,
  payloadErrorBody,
  type WebhookIds,
  webhookHeaders,
  webhookMessage,
} from "../../fal/webhook.ts";
import type { HostLimiter } from "./host-limiter.ts";

export interface DeliverWebhookDependencies {
  hostLimiter: HostLimiter;
  http: Pick<GuardedHttp, "post">;
  signingKeys: Pick<SigningKeys, "sign">;
  deliveries: Pick<DeliveryStore, "record">;
  /** Where outputs over the inline limit lie. */
  objects: Pick<ObjectStore, "head" | "get">;
  clock: Clock;
}

export interface AttemptTask {
  delivery: WebhookDelivery;
  /** 1, 2, … within the delivery's round. */
  attempt: number;
  /** Pause before the next attempt; absent for the last. */
  nextDelayMs?: number;
}

export type AttemptReport =
  /** Too many attempts go to this host right now; nothing was sent. */
  | { busy: true }
  | {
      busy?: false;
      delivered: boolean;
      /** What to record, when Postgres did not take it. */
      unrecorded?: DeliveryAttempt;
    };

/**
 * One attempt of a delivery: a POST with a fresh timestamp and signature (contract §8).
 *
 * Returns how it went; a receiver that refuses, stays silent or is not allowed is no error here. Throws
 * `store_unavailable` when the output or the signing key cannot be read, before anything was sent: Temporal
 * tries again, and that is no attempt.
 */
export function createDeliverWebhook({
  hostLimiter: gate,
  http,
  signingKeys,
  deliveries,
  objects,
  clock,
}: DeliverWebhookDependencies) {
  return async function deliverWebhook({
    delivery,
    attempt,
    nextDelayMs,
  }: AttemptTask): Promise<AttemptReport> {
    const context = Context.current();
    const signal = context.cancellationSignal;
    const heartbeat = setInterval(() => context.heartbeat(), LIMITS.webhookHeartbeatMs / 4);
    let leave: (() => void) | undefined;
    try {
      leave = await gate.acquire(hostOf(delivery.url), signal);
      if (!leave) return { busy: true };
      const body = await bodyOf(delivery, objects);
      const signed = {
        requestId: delivery.requestId,
        userId: delivery.ownerId,
        timestamp: String(Math.floor(clock.nowMs() / 1000)),
      };
      const { signature } = await signingKeys.sign(webhookMessage(signed, body.sha256));
      const startedAtMs = clock.nowMs();
      const posted = await http.post({
        url: delivery.url,
        headers: webhookHeaders(signed, signature),
        bytes: body.bytes,
        body: await body.open(),
        timeoutMs: delivery.timeoutMs,
        signal,
      });
      leave();
      const delivered = "status" in posted && posted.status >= 200 && posted.status <= 299;
      const record: DeliveryAttempt = {
        round: delivery.round,
        attempt,
        startedAtMs,
        durationMs: Math.max(0, clock.nowMs() - startedAtMs),
        ...("status" in posted && { status: posted.status }),
        ...(!delivered && { error: "error" in posted ? posted.error : refusal(posted) }),
      };
      try {
        await recordAttempt(deliveries, {
          delivery,
          record,
          delivered,
          ...(nextDelayMs !== undefined && { nextDelayMs }),
        });
        return { delivered };
      } catch (error) {
        context.log.warn(`an attempt of a webhook was not recorded, its workflow will: ${String(error)}`);
        return { delivered, unrecorded: record };
      }
    } finally {
      leave?.();
      clearInterval(heartbeat);
    }
  };
}

/**
 * Whether an attempt sent away may come again: asked without the outcome, since what an activity is given
 * stays in its workflow's history each time. Of this orchestrator; another one may have room when it has
 * none.
 */
export const createWebhookHostHasCapacity = ({ gate }: { gate: HostLimiter }) =>
  async function webhookHostHasRoom({ url }: { url: string }): Promise<boolean> {
    return gate.hasCapacity(hostOf(url));
  };

export interface AttemptRecord {
  delivery: WebhookDelivery;
  record: DeliveryAttempt;
  delivered: boolean;
  nextDelayMs?: number;
}

/** Keeps how an attempt went, for when Postgres was away at its end. Harmless to repeat. */
export const createRecordAttempt = ({ deliveries }: { deliveries: Pick<DeliveryStore, "record"> }) =>
  async function recordDeliveryAttempt(task: AttemptRecord): Promise<void> {
    await recordAttempt(deliveries, task);
  };

const recordAttempt = (
  deliveries: Pick<DeliveryStore, "record">,
  { delivery, record, delivered, nextDelayMs }: AttemptRecord,
): Promise<void> =>
  deliveries.record(delivery, record, {
    state: delivered ? "delivered" : nextDelayMs === undefined ? "dead" : "pending",
    ...(!delivered &&
      nextDelayMs !== undefined && { nextAttemptAtMs: record.startedAtMs + record.durationMs + nextDelayMs }),
  });

/** What a receiver's refusal reads like in the record: its status, and the beginning of its words. */
function refusal({ status, answer }: { status: number; answer: string }): string {
  const words = answer.toWellFormed().replace(/\s+/g, " ").trim().slice(0, 500);
  const what =
    status >= 300 && status <= 399 ? `redirected (${status}), which is not followed` : `answered ${status}`;
  return `The receiver ${what}${words === "" ? "." : `: ${words}`}`;
}

interface Body {
  bytes: number;
  sha256: string;
  /** The bytes again, to send. */
  open(): Promise<Buffer | Readable>;
}

/**
 * The body of a delivery. An output in the object store is read twice, to sign and to send, and never held
 * whole.
 */
async function bodyOf(
  delivery: WebhookDelivery,
  objects: DeliverWebhookDependencies["objects"],
): Promise<Body> {
  const { outcome, requestId, retryOf } = delivery;
  const about: WebhookIds = {
    requestId,
    gatewayRequestId: gatewayRequestId(requestId, delivery.jobAttempts),
    ...(retryOf !== undefined && { retryOf }),
  };
  if (!outcome.ok) return whole(errorBody(about, outcome.error));
  const frame = okFrame(about);
  if ("inline" in outcome.output)
    return whole(`${frame.before}${JSON.stringify(outcome.output.inline)}${frame.after}`);

  const { ref } = outcome.output;
  const info = await objects.head(ref);
  if (!info) return whole(payloadErrorBody(about, "The output is no longer stored."));
  if (info.contentType !== "application/json")
    return whole(payloadErrorBody(about, `The output is ${info.contentType}, not JSON.`));
  const parts = async function* (): AsyncGenerator<Buffer> {
    yield Buffer.from(frame.before);
    const found = await objects.get(ref);
    if (!found) throw new Error("the output vanished while it was sent");
    for await (const chunk of found.body) yield chunk as Buffer;
    yield Buffer.from(frame.after);
  };
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const part of parts()) {
    hash.update(part);
    bytes += part.length;
  }
  return {
    bytes,
    sha256: hash.digest("hex"),
    open: async () => Readable.from(parts(), { objectMode: false }),
  };
}

function whole(text: string): Body {
  const buffer = Buffer.from(text);
  return {
    bytes: buffer.length,
    sha256: createHash("sha256").update(buffer).digest("hex"),
    open: async () => buffer,
  };
}

import { Context } from "@temporalio/activity";
import type { Release } from "../../core/concurrency/semaphore.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { GuardedHttp, PostResult } from "../../core/operations/guarded-http.ts";
import type { DeliveryStore } from "../../core/webhooks/delivery-store.ts";
import type { SigningKeyStore } from "../../core/webhooks/signing-key-store.ts";
import { type DeliveryAttempt, hostOf, type WebhookDelivery } from "../../core/webhooks/webhook.ts";
import { webhookHeaders, webhookMessage } from "../../fal/webhook.ts";
import type { HostLimiter } from "./host-limiter.ts";
import { type WebhookBodyDependencies, webhookBody } from "./webhook-body.ts";

export interface DeliverWebhookDependencies extends WebhookBodyDependencies {
  hostLimiter: HostLimiter;
  http: Pick<GuardedHttp, "post">;
  signingKeys: Pick<SigningKeyStore, "sign">;
  deliveries: Pick<DeliveryStore, "record">;
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
  /** Too many attempts go to this host now; nothing was sent. */
  | { busy: true }
  | {
      busy?: false;
      delivered: boolean;
      /** The record of the attempt, when PostgreSQL could not store it. */
      unrecorded?: DeliveryAttempt;
    };

/**
 * One attempt of a delivery: a POST with a fresh timestamp and signature (contract §8).
 *
 * Returns the result. A receiver that refuses, does not respond or is not allowed is a result and no error.
 * Throws `store_unavailable` when the output or the signing key cannot be read, before anything was sent:
 * Temporal retries the activity, and that does not count as an attempt.
 */
export function createDeliverWebhook(dependencies: DeliverWebhookDependencies) {
  return async function deliverWebhook(task: AttemptTask): Promise<AttemptReport> {
    const context = Context.current();
    const heartbeat = setInterval(() => context.heartbeat(), LIMITS.webhookHeartbeatMs / 4);
    let release: Release | undefined;
    try {
      const host = hostOf(task.delivery.url);
      release = await dependencies.hostLimiter.acquire(host, context.cancellationSignal);
      if (!release) return { busy: true };
      const { delivered, record } = await post(dependencies, task, context.cancellationSignal);
      release();
      return await report(dependencies.deliveries, { ...task, delivered, record });
    } finally {
      release?.();
      clearInterval(heartbeat);
    }
  };
}

/** Signs and sends the webhook. Returns the record of the attempt. */
async function post(
  { http, signingKeys, clock, ...output }: DeliverWebhookDependencies,
  { delivery, attempt }: AttemptTask,
  signal: AbortSignal,
): Promise<{ delivered: boolean; record: DeliveryAttempt }> {
  const body = await webhookBody(delivery, output);
  const signed = {
    requestId: delivery.requestId,
    userId: delivery.ownerId,
    timestamp: String(Math.floor(clock.nowMs() / 1000)),
  };
  const { signature } = await signingKeys.sign(webhookMessage(signed, body.sha256));
  const startedAtMs = clock.nowMs();
  const result = await http.post({
    url: delivery.url,
    headers: webhookHeaders(signed, signature),
    bytes: body.bytes,
    body: await body.open(),
    timeoutMs: delivery.timeoutMs,
    signal,
  });
  const delivered = "status" in result && result.status >= 200 && result.status <= 299;
  const record: DeliveryAttempt = {
    round: delivery.round,
    attempt,
    startedAtMs,
    durationMs: Math.max(0, clock.nowMs() - startedAtMs),
    ...("status" in result && { status: result.status }),
    ...(!delivered && { error: "error" in result ? result.error : refusalMessage(result) }),
  };
  return { delivered, record };
}

/** Records an attempt. A record that PostgreSQL could not store goes to the workflow, which tries again. */
async function report(
  deliveries: Pick<DeliveryStore, "record">,
  { delivery, delivered, record, nextDelayMs }: AttemptTask & { delivered: boolean; record: DeliveryAttempt },
): Promise<AttemptReport> {
  try {
    const next = nextDelayMs === undefined ? {} : { nextDelayMs };
    await recordAttempt(deliveries, { delivery, record, delivered, ...next });
    return { delivered };
  } catch (error) {
    Context.current().log.warn(
      `an attempt of a webhook was not recorded; its workflow will record it: ${String(error)}`,
    );
    return { delivered, unrecorded: record };
  }
}

/**
 * Checks whether a refused attempt may come again. The activity has no access to the outcome, since the
 * argument of each call stays in the workflow's history. The answer is about this orchestrator; another one
 * may have capacity when this one has none. `webhookHostHasRoom` is the recorded name of the activity.
 */
export function createWebhookHostHasCapacity({ hostLimiter }: { hostLimiter: HostLimiter }) {
  return async function webhookHostHasCapacity({ url }: { url: string }): Promise<boolean> {
    return hostLimiter.hasCapacity(hostOf(url));
  };
}

export interface AttemptRecord {
  delivery: WebhookDelivery;
  record: DeliveryAttempt;
  delivered: boolean;
  nextDelayMs?: number;
}

/** Records an attempt at whose end PostgreSQL was unavailable. Idempotent. */
export function createRecordAttempt({ deliveries }: { deliveries: Pick<DeliveryStore, "record"> }) {
  return async function recordDeliveryAttempt(task: AttemptRecord): Promise<void> {
    await recordAttempt(deliveries, task);
  };
}

function recordAttempt(
  deliveries: Pick<DeliveryStore, "record">,
  { delivery, record, delivered, nextDelayMs }: AttemptRecord,
): Promise<void> {
  const endedAtMs = record.startedAtMs + record.durationMs;
  return deliveries.record(delivery, record, {
    state: delivered ? "delivered" : nextDelayMs === undefined ? "dead" : "pending",
    ...(!delivered && nextDelayMs !== undefined && { nextAttemptAtMs: endedAtMs + nextDelayMs }),
  });
}

/** Describes the response of a receiver that refused: its status and the beginning of its text. */
function refusalMessage({ status, answer }: Extract<PostResult, { status: number }>): string {
  const text = answer.toWellFormed().replace(/\s+/g, " ").trim().slice(0, 500);
  const summary =
    status >= 300 && status <= 399 ? `redirected (${status}), which is not followed` : `answered ${status}`;
  return `The receiver ${summary}${text === "" ? "." : `: ${text}`}`;
}

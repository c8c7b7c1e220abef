import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { DeliveryRecord } from "../../core/ports/delivery-store.ts";
import type { DeliveryAttempt, DeliveryState } from "../../core/webhook.ts";
import { answerJson } from "../answer-json.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { readJsonBody } from "../read-body.ts";
import { paged, pageOf } from "./page.ts";

const STATES: readonly DeliveryState[] = ["pending", "delivered", "dead"];

const iso = (ms: number): string => new Date(ms).toISOString();

const deliveryBody = (delivery: DeliveryRecord) => ({
  request_id: delivery.requestId,
  owner: delivery.ownerId,
  endpoint_id: delivery.endpoint,
  url: delivery.url,
  state: delivery.state,
  rounds: delivery.round,
  attempts: delivery.attempts,
  created_at: iso(delivery.createdAtMs),
  updated_at: iso(delivery.updatedAtMs),
  next_attempt_at: delivery.nextAttemptAtMs === undefined ? null : iso(delivery.nextAttemptAtMs),
  last_status: delivery.lastStatus ?? null,
  last_error: delivery.lastError ?? null,
});

const attemptBody = ({ round, attempt, startedAtMs, durationMs, status, error }: DeliveryAttempt) => ({
  round,
  attempt,
  started_at: iso(startedAtMs),
  duration_ms: durationMs,
  status: status ?? null,
  error: error ?? null,
});

/** `GET /v1/deliveries?state=&limit=&cursor=` → webhooks that were tried at least once, newest first. */
export const createDeliveriesList =
  ({ deliveries }: Pick<ApiDependencies, "deliveries">) =>
  async (c: Context): Promise<Response> => {
    const given = c.req.query("state");
    const state = STATES.find((each) => each === given);
    if (given !== undefined && !state) {
      const msg = `Input should be one of ${STATES.join(", ")}`;
      throw new TemperaError("input_invalid", `state: ${msg}`, { faults: [{ loc: ["query", "state"], msg, type: "literal_error" }] });
    }
    const page = pageOf(c);
    const found = await deliveries.list({ ...page, limit: page.limit + 1, ...(state && { state }) });
    const { items, ...rest } = paged(found, page);
    return answerJson(c, { deliveries: items.map(deliveryBody), ...rest });
  };

/** `GET /v1/deliveries/{request_id}` → one delivery and each of its attempts. 404 `delivery_unknown`. */
export const createDeliveriesShow =
  ({ deliveries }: Pick<ApiDependencies, "deliveries">) =>
  async (c: Context): Promise<Response> => {
    const found = await deliveries.find(c.req.param("request_id") ?? "");
    if (!found) throw new TemperaError("delivery_unknown");
    return answerJson(c, { ...deliveryBody(found.delivery), history: found.attempts.map(attemptBody) });
  };

/**
 * `POST /v1/deliveries/{request_id}/redeliver {url?}` → 202. Tries again from the start of the schedule, with the outcome as it is
 * stored; a delivery that waits for its next attempt makes it now (`{"status":"HURRIED"}`, the same address). 404
 * `delivery_unknown`, also once the request's outcome is gone; 400 for an address that cannot be used.
 */
export const createDeliveriesRedeliver =
  ({ deliveries, redeliveries, requests, webhookOf }: Pick<ApiDependencies, "deliveries" | "redeliveries" | "requests" | "webhookOf">) =>
  async (c: Context): Promise<Response> => {
    const body = await readJsonBody(c, 64 * 1024);
    const { url } = typeof body === "object" && body !== null && !Array.isArray(body) ? body : {};
    if (url !== undefined && typeof url !== "string") throw new TemperaError("webhook_invalid", "The webhook address is no text.");
    const found = await deliveries.find((c.req.param("request_id") ?? "").toLowerCase());
    const request = found && (await requests.find(found.delivery.requestId));
    if (!found || !request?.outcome) throw new TemperaError("delivery_unknown");
    const { delivery } = found;
    const webhook = webhookOf(url ?? delivery.url);
    if (!webhook) throw new TemperaError("delivery_unknown");
    const how = await redeliveries.start({
      ...webhook,
      requestId: delivery.requestId,
      ownerId: delivery.ownerId,
      endpoint: delivery.endpoint,
      outcome: request.outcome,
      jobAttempts: request.attempts,
      round: delivery.round + 1,
      ...(delivery.retryOf !== undefined && { retryOf: delivery.retryOf }),
    });
    return answerJson(c, { request_id: delivery.requestId, status: how === "started" ? "STARTED" : "HURRIED" }, 202);
  };

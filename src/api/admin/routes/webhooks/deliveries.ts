import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import type { DeliveryRecord } from "../../../../core/webhooks/delivery-store.ts";
import type { DeliveryAttempt } from "../../../../core/webhooks/webhook.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { cursorOf, PAGE_ANSWER, PAGE_QUERY, pageAfter, paged } from "../../http/page.ts";
import type { AddVerb } from "../../http/route.ts";

const STATE = z.enum(["pending", "delivered", "dead"], "Input should be one of pending, delivered, dead");

const DELIVERY = z
  .object({
    request_id: z.string(),
    owner: z.string(),
    endpoint_id: z.string(),
    url: z.string(),
    state: STATE,
    rounds: z.int().openapi({ description: "Times it was started: once by its job, then by operators." }),
    attempts: z.int(),
    created_at: z.string(),
    updated_at: z.string(),
    next_attempt_at: z.string().nullable(),
    last_status: z.int().nullable(),
    last_error: z.string().nullable(),
  })
  .openapi("Delivery");

const ATTEMPT = z.object({
  round: z.int(),
  attempt: z.int(),
  started_at: z.string(),
  duration_ms: z.number(),
  status: z.int().nullable(),
  error: z.string().nullable(),
});

const iso = (ms: number): string => new Date(ms).toISOString();

const deliveryBody = (delivery: DeliveryRecord): z.input<typeof DELIVERY> => ({
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

const attemptBody = ({
  round,
  attempt,
  startedAtMs,
  durationMs,
  status,
  error,
}: DeliveryAttempt): z.input<typeof ATTEMPT> => ({
  round,
  attempt,
  started_at: iso(startedAtMs),
  duration_ms: durationMs,
  status: status ?? null,
  error: error ?? null,
});

const REQUEST = z.object({ request_id: z.string() });

/** Webhooks on their way to their receivers. */
export function addDeliveryVerbs(
  add: AddVerb,
  {
    deliveries,
    redeliveries,
    requests,
    objects,
    webhookOf,
  }: Pick<ApiDependencies, "deliveries" | "redeliveries" | "requests" | "objects" | "webhookOf">,
): void {
  add(
    {
      method: "get",
      path: "/v1/deliveries",
      says: "Lists the webhooks that were tried at least once, newest first.",
      scope: "ADMIN",
      query: PAGE_QUERY.extend({ state: STATE.optional() }),
      answer: z.object({ deliveries: z.array(DELIVERY), ...PAGE_ANSWER }),
    },
    async ({ query: { limit, cursor, state } }) => {
      const { before } = pageAfter({ cursor });
      const found = await deliveries.list({
        limit: limit + 1,
        ...(before && { before: { atMs: before.atMs, requestId: before.id } }),
        ...(state && { state }),
      });
      const { items, ...page } = paged(found, limit, ({ createdAtMs, requestId }) =>
        cursorOf(createdAtMs, requestId),
      );
      return { deliveries: items.map(deliveryBody), ...page };
    },
  );

  add(
    {
      method: "get",
      path: "/v1/deliveries/{request_id}",
      says: "Shows one delivery and each of its attempts.",
      scope: "ADMIN",
      params: REQUEST,
      answer: DELIVERY.extend({ history: z.array(ATTEMPT) }),
      errors: ["delivery_unknown"],
    },
    async ({ params }) => {
      const found = await deliveries.find(params.request_id);
      if (!found) throw new TemperaError("delivery_unknown");
      return { ...deliveryBody(found.delivery), history: found.attempts.map(attemptBody) };
    },
  );

  add(
    {
      method: "post",
      path: "/v1/deliveries/{request_id}/redeliver",
      says: "Tries a webhook again from the start of its schedule; one that waits for its next attempt makes it now.",
      scope: "ADMIN",
      params: REQUEST,
      body: z.strictObject({
        url: z
          .unknown()
          .optional()
          .openapi({ type: "string", description: "Another address than the first." }),
      }),
      audit: "deliveries.redeliver",
      status: 202,
      answer: z.object({ request_id: z.string(), status: z.enum(["STARTED", "HURRIED"]) }),
      errors: ["delivery_unknown", "payload_gone", "webhook_invalid", "temporal_unavailable"],
    },
    async ({ params, body: { url }, change }) => {
      if (url !== undefined && typeof url !== "string")
        throw new TemperaError("webhook_invalid", "The webhook address is no text.");
      const found = await deliveries.find(params.request_id.toLowerCase());
      const request = found && (await requests.find(found.delivery.requestId));
      // The stored outcome is what is told: once it is gone there is nothing to deliver.
      const outcome = request?.outcome;
      const output = outcome?.ok ? outcome.output : undefined;
      if (output && "ref" in output && !(await objects.head(output.ref)))
        throw new TemperaError("payload_gone");
      const webhook = found && webhookOf(url ?? found.delivery.url);
      if (!outcome || !webhook) throw new TemperaError("delivery_unknown");
      const { delivery } = found;
      return change({ subject: delivery.requestId, before: deliveryBody(delivery) }, async () => {
        const how = await redeliveries.start({
          ...webhook,
          requestId: delivery.requestId,
          ownerId: delivery.ownerId,
          endpoint: delivery.endpoint,
          outcome,
          jobAttempts: request.attempts,
          round: delivery.round + 1,
          ...(delivery.retryOf !== undefined && { retryOf: delivery.retryOf }),
        });
        const status = how === "started" ? ("STARTED" as const) : ("HURRIED" as const);
        return { after: { status, url: webhook.url }, result: { request_id: delivery.requestId, status } };
      });
    },
  );
}

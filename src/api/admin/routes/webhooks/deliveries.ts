/**
 * The admin API of webhooks: their deliveries (`deliveries.ts`) and the keys that sign them
 * (`signing-keys.ts`).
 */
import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import type { DeliveryRecord } from "../../../../core/webhooks/delivery-store.ts";
import type { DeliveryAttempt, WebhookDelivery } from "../../../../core/webhooks/webhook.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { cursorOf, PAGE_FIELDS, PAGE_QUERY, pageAfter, paged } from "../../http/page.ts";
import type { AddRoute } from "../../http/route.ts";

const STATE = z.enum(["pending", "delivered", "dead"], "Input should be one of pending, delivered, dead");

const DELIVERY = z
  .object({
    request_id: z.string(),
    owner: z.string(),
    endpoint_id: z.string(),
    url: z.string(),
    state: STATE,
    rounds: z.int().openapi({
      description: "The number of starts: one by the request, each further one by an operator.",
    }),
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

const DELIVERY_DETAIL = DELIVERY.extend({ history: z.array(ATTEMPT) });

/** The delivery of a webhook, as the API shows it. */
export type DeliveryView = z.output<typeof DELIVERY>;
/** The same with each of its attempts. */
export type DeliveryDetailView = z.output<typeof DELIVERY_DETAIL>;

const iso = (ms: number): string => new Date(ms).toISOString();

const deliveryBody = (delivery: DeliveryRecord): DeliveryView => ({
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

const PARAMS = z.object({ request_id: z.string() });

type Dependencies = Pick<
  ApiDependencies,
  "deliveries" | "redeliveries" | "requests" | "objects" | "webhookOf"
>;

/** Adds the routes of webhook deliveries. */
export function addDeliveryRoutes(addRoute: AddRoute, api: Dependencies): void {
  addReadRoutes(addRoute, api);
  addRedeliverRoute(addRoute, api);
}

function addReadRoutes(addRoute: AddRoute, { deliveries }: Dependencies): void {
  addRoute(
    {
      method: "get",
      path: "/v1/deliveries",
      summary: "Lists the webhooks with at least one attempt, newest first.",
      scope: "ADMIN",
      query: PAGE_QUERY.extend({ state: STATE.optional() }),
      response: z.object({ deliveries: z.array(DELIVERY), ...PAGE_FIELDS }),
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

  addRoute(
    {
      method: "get",
      path: "/v1/deliveries/{request_id}",
      summary: "Shows one delivery and each of its attempts.",
      scope: "ADMIN",
      params: PARAMS,
      response: DELIVERY_DETAIL,
      errors: ["delivery_unknown"],
    },
    async ({ params }) => {
      const found = await deliveries.find(params.request_id);
      if (!found) throw new TemperaError("delivery_unknown");
      return { ...deliveryBody(found.delivery), history: found.attempts.map(attemptBody) };
    },
  );
}

function addRedeliverRoute(addRoute: AddRoute, api: Dependencies): void {
  addRoute(
    {
      method: "post",
      path: "/v1/deliveries/{request_id}/redeliver",
      summary:
        "Starts the schedule of a webhook's attempts again. " +
        "A webhook that waits for its next attempt makes it now.",
      scope: "ADMIN",
      params: PARAMS,
      body: z.strictObject({
        url: z
          .unknown()
          .optional()
          .openapi({ type: "string", description: "A URL that replaces the original one." }),
      }),
      audit: "deliveries.redeliver",
      status: 202,
      response: z.object({ request_id: z.string(), status: z.enum(["STARTED", "RETRIED_NOW"]) }),
      errors: ["delivery_unknown", "payload_gone", "webhook_invalid", "temporal_unavailable"],
    },
    async ({ params, body: { url }, change }) => {
      if (url !== undefined && typeof url !== "string")
        throw new TemperaError("webhook_invalid", "The webhook URL must be a string.");
      const { before, next } = await redelivery(api, params.request_id.toLowerCase(), url);
      const { requestId } = next;
      return change({ subject: requestId, before: deliveryBody(before) }, async () => {
        const started = (await api.redeliveries.start(next)) === "started";
        const status = started ? ("STARTED" as const) : ("RETRIED_NOW" as const);
        return { after: { status, url: next.url }, result: { request_id: requestId, status } };
      });
    },
  );
}

/**
 * Prepares the next round of a delivery, to `url` or else to the original URL.
 *
 * Rejects with `delivery_unknown`, and with `payload_gone` when the output that it delivers is deleted.
 */
async function redelivery(
  { deliveries, requests, objects, webhookOf }: Dependencies,
  requestId: string,
  url: string | undefined,
): Promise<{ before: DeliveryRecord; next: WebhookDelivery }> {
  const found = await deliveries.find(requestId);
  const request = found && (await requests.find(found.delivery.requestId));
  const outcome = request?.outcome;
  const output = outcome?.ok ? outcome.output : undefined;
  if (output && "ref" in output && !(await objects.head(output.ref))) throw new TemperaError("payload_gone");
  const webhook = found && webhookOf(url ?? found.delivery.url);
  if (!outcome || !webhook) throw new TemperaError("delivery_unknown");
  const { delivery } = found;
  const next: WebhookDelivery = {
    ...webhook,
    requestId: delivery.requestId,
    ownerId: delivery.ownerId,
    endpoint: delivery.endpoint,
    outcome,
    jobAttempts: request.attempts,
    round: delivery.round + 1,
    ...(delivery.retryOf !== undefined && { retryOf: delivery.retryOf }),
  };
  return { before: delivery, next };
}

import type { AllowedPrivate } from "../../core/operations/address-policy.ts";
import type { Webhook } from "../../core/webhooks/webhook.ts";
import { checkWebhookUrl } from "../../core/webhooks/webhook-url.ts";

/**
 * Reads `fal_webhook`, and joins the schedule that is configured now: a delivery keeps the one it was started
 * with.
 */
export const createWebhookOf =
  (allowed: AllowedPrivate, schedule: { delays: number[]; timeoutSeconds: number }) =>
  (url: string | undefined): Webhook | undefined =>
    url === undefined
      ? undefined
      : {
          url: checkWebhookUrl(url, allowed),
          delaysMs: schedule.delays.map((seconds) => Math.round(seconds * 1000)),
          timeoutMs: Math.round(schedule.timeoutSeconds * 1000),
        };

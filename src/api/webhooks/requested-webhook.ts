import type { AllowedPrivate } from "../../core/operations/address-policy.ts";
import type { Webhook } from "../../core/webhooks/webhook.ts";
import { checkWebhookUrl } from "../../core/webhooks/webhook-url.ts";

/**
 * Makes the function that reads `fal_webhook`. It adds the schedule that is configured now, which a delivery
 * keeps until its end.
 */
export function createWebhookOf(
  allowed: AllowedPrivate,
  schedule: { delays: number[]; timeoutSeconds: number },
) {
  return function webhookOf(url: string | undefined): Webhook | undefined {
    if (url === undefined) return undefined;
    return {
      url: checkWebhookUrl(url, allowed),
      delaysMs: schedule.delays.map((seconds) => Math.round(seconds * 1000)),
      timeoutMs: Math.round(schedule.timeoutSeconds * 1000),
    };
  };
}

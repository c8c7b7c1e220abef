import { ApplicationFailure, condition, defineSignal, proxyActivities, setHandler, sleep } from "@temporalio/workflow";
import type { WebhookActivities } from "../activities/index.ts";
import { LIMITS } from "../core/limits.ts";
import { fairnessKeyOf, WEBHOOK_QUEUE, type WebhookDelivery } from "../core/webhook.ts";

/** An operator does not want to wait for the next attempt. */
const hurry = defineSignal("hurry");

/** Pauses of a delivery whose host is busy: nothing was sent, so these are no attempts. */
const BUSY_INITIAL_MS = 500;
const BUSY_MAXIMUM_MS = 15_000;

/**
 * One webhook on its way to its receiver (contract §8): attempts by the schedule in its argument, until the receiver answers 2xx.
 *
 * Closes as Completed when it was delivered, as Failed when its attempts were used up: a dead letter, which `tempera deliveries
 * redeliver` starts again.
 */
export async function webhookDelivery(delivery: WebhookDelivery): Promise<{ attempts: number }> {
  const { deliverWebhook, recordDeliveryAttempt } = proxyActivities<WebhookActivities>({
    taskQueue: WEBHOOK_QUEUE,
    startToCloseTimeout: delivery.timeoutMs + LIMITS.webhookHostWaitMs + 30_000,
    heartbeatTimeout: LIMITS.webhookHeartbeatMs,
    // What fails here are stores that are away; receivers that fail are results.
    retry: { initialInterval: "500ms", backoffCoefficient: 2, maximumInterval: "30s" },
    priority: { fairnessKey: fairnessKeyOf(delivery) },
  });
  let hurried = false;
  setHandler(hurry, () => {
    hurried = true;
  });

  for (let attempt = 1; ; attempt++) {
    const nextDelayMs = delivery.delaysMs[attempt - 1];
    const task = { delivery, attempt, ...(nextDelayMs !== undefined && { nextDelayMs }) };
    hurried = false;
    let report = await deliverWebhook(task);
    for (let pauseMs = BUSY_INITIAL_MS; report.busy; pauseMs = Math.min(pauseMs * 2, BUSY_MAXIMUM_MS)) {
      await sleep(pauseMs * (0.5 + Math.random()));
      report = await deliverWebhook(task);
    }
    const { delivered, unrecorded } = report;
    if (unrecorded) {
      await recordDeliveryAttempt({ delivery, record: unrecorded, delivered, ...(nextDelayMs !== undefined && { nextDelayMs }) });
    }
    if (delivered) return { attempts: attempt };
    if (nextDelayMs === undefined) {
      throw ApplicationFailure.create({
        type: "webhook_undelivered",
        message: `The webhook was not delivered in ${attempt} attempts.`,
        nonRetryable: true,
      });
    }
    await condition(() => hurried, nextDelayMs);
  }
}

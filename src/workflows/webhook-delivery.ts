import {
  ApplicationFailure,
  condition,
  continueAsNew,
  defineSignal,
  patched,
  proxyActivities,
  setHandler,
  sleep,
  workflowInfo,
} from "@temporalio/workflow";
import type { WebhookActivities } from "../activities/index.ts";
import { LIMITS } from "../core/limits.ts";
import { fairnessKeyOf, WEBHOOK_QUEUE, type WebhookDelivery } from "../core/webhooks/webhook.ts";

/**
 * An operator does not want to wait for the next attempt, and says where it and those behind it go; once
 * nothing was said.
 */
const hurry = defineSignal<[url?: string]>("hurry");

/** Pauses of a delivery whose host is busy: nothing was sent, so these are no attempts. */
const BUSY_INITIAL_MS = 500;
const BUSY_MAXIMUM_MS = 15_000;

/** Deliveries that began before they asked for room were simply made again. */
const ASKS_FOR_ROOM = "asks-for-room";

/**
 * One webhook on its way to its receiver (contract §8): attempts by the schedule in its argument, until the
 * receiver answers 2xx.
 *
 * One whose host is busy asks for room until there is some, however long: that costs no attempt, and Temporal
 * keeps it, so that its history is begun anew whenever it has grown long.
 *
 * Closes as Completed when it was delivered, as Failed when its attempts were used up: a dead letter, which
 * `tempera deliveries redeliver` starts again.
 *
 * @param firstAttempt where a delivery goes on whose history was begun anew
 */
export async function webhookDelivery(
  delivery: WebhookDelivery,
  firstAttempt = 1,
): Promise<{ attempts: number }> {
  const { deliverWebhook, recordDeliveryAttempt } = proxyActivities<WebhookActivities>({
    taskQueue: WEBHOOK_QUEUE,
    startToCloseTimeout: delivery.timeoutMs + LIMITS.webhookHostWaitMs + 30_000,
    heartbeatTimeout: LIMITS.webhookHeartbeatMs,
    // What fails here are stores that are away; receivers that fail are results.
    retry: { initialInterval: "500ms", backoffCoefficient: 2, maximumInterval: "30s" },
    priority: { fairnessKey: fairnessKeyOf(delivery) },
  });
  const { webhookHostHasRoom } = proxyActivities<WebhookActivities>({
    taskQueue: WEBHOOK_QUEUE,
    startToCloseTimeout: "10s",
    priority: { fairnessKey: fairnessKeyOf(delivery) },
  });
  let hurried = false;
  setHandler(hurry, (url = delivery.url) => {
    hurried = true;
    delivery = { ...delivery, url };
  });

  for (let attempt = firstAttempt; ; attempt++) {
    const nextDelayMs = delivery.delaysMs[attempt - 1];
    const task = { delivery, attempt, ...(nextDelayMs !== undefined && { nextDelayMs }) };
    hurried = false;
    let report = await deliverWebhook(task);
    for (let pauseMs = BUSY_INITIAL_MS; report.busy; pauseMs = Math.min(pauseMs * 2, BUSY_MAXIMUM_MS)) {
      await sleep(pauseMs * (0.5 + Math.random()));
      if (patched(ASKS_FOR_ROOM)) {
        if (workflowInfo().continueAsNewSuggested)
          await continueAsNew<typeof webhookDelivery>(delivery, attempt);
        if (!(await webhookHostHasRoom({ url: delivery.url }))) continue;
      }
      report = await deliverWebhook(task);
    }
    const { delivered, unrecorded } = report;
    if (unrecorded) {
      await recordDeliveryAttempt({
        delivery,
        record: unrecorded,
        delivered,
        ...(nextDelayMs !== undefined && { nextDelayMs }),
      });
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

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
 * The signal with which an operator starts the next attempt now, optionally at another address. `hurry` is
 * its recorded name.
 */
const retryNow = defineSignal<[url?: string]>("hurry");

/** Pauses while the host is busy. Nothing was sent, so these do not count as attempts. */
const BUSY_INITIAL_MS = 500;
const BUSY_MAXIMUM_MS = 15_000;

/**
 * The patch with which deliveries ask for capacity before they try again. Older deliveries tried again
 * without asking; the id is recorded in histories.
 */
const CAPACITY_CHECK = "asks-for-room";

/**
 * The delivery of one webhook to its receiver (contract §8): attempts by the schedule in `delivery.delaysMs`,
 * until the receiver answers 2xx.
 *
 * While the host is busy, the delivery asks for capacity again and again without using up an attempt.
 * Temporal keeps it however long that takes, and it continues as new when its history has grown long.
 *
 * Closes as completed when the webhook was delivered, and as failed when the attempts were exhausted: that is
 * a dead letter, which `tempera deliveries redeliver` starts again.
 *
 * @param firstAttempt number of the next attempt, for a delivery that continues as new
 */
export async function webhookDelivery(
  delivery: WebhookDelivery,
  firstAttempt = 1,
): Promise<{ attempts: number }> {
  const activities = deliveryActivities(delivery);
  let retryRequested = false;
  setHandler(retryNow, (url = delivery.url) => {
    retryRequested = true;
    delivery = { ...delivery, url };
  });

  for (let attempt = firstAttempt; ; attempt++) {
    const nextDelayMs = delivery.delaysMs[attempt - 1];
    const task = { delivery, attempt, ...(nextDelayMs !== undefined && { nextDelayMs }) };
    retryRequested = false;
    let report = await activities.deliverWebhook(task);
    for (let pauseMs = BUSY_INITIAL_MS; report.busy; pauseMs = Math.min(pauseMs * 2, BUSY_MAXIMUM_MS)) {
      await sleep(pauseMs * (0.5 + Math.random()));
      if (patched(CAPACITY_CHECK)) {
        if (workflowInfo().continueAsNewSuggested)
          await continueAsNew<typeof webhookDelivery>(delivery, attempt);
        if (!(await activities.hostHasCapacity({ url: delivery.url }))) continue;
      }
      report = await activities.deliverWebhook(task);
    }
    const { delivered, unrecorded } = report;
    if (unrecorded) {
      await activities.recordDeliveryAttempt({
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
    await condition(() => retryRequested, nextDelayMs);
  }
}

/** `webhookHostHasRoom` is the recorded name of the activity that is called `hostHasCapacity` here. */
function deliveryActivities(delivery: WebhookDelivery) {
  const priority = { fairnessKey: fairnessKeyOf(delivery) };
  const { deliverWebhook, recordDeliveryAttempt } = proxyActivities<WebhookActivities>({
    taskQueue: WEBHOOK_QUEUE,
    startToCloseTimeout: delivery.timeoutMs + LIMITS.webhookHostWaitMs + 30_000,
    heartbeatTimeout: LIMITS.webhookHeartbeatMs,
    // An attempt fails only while a store is unavailable; a receiver that fails is a result.
    retry: { initialInterval: "500ms", backoffCoefficient: 2, maximumInterval: "30s" },
    priority,
  });
  const { webhookHostHasRoom: hostHasCapacity } = proxyActivities<WebhookActivities>({
    taskQueue: WEBHOOK_QUEUE,
    startToCloseTimeout: "10s",
    priority,
  });
  return { deliverWebhook, recordDeliveryAttempt, hostHasCapacity };
}

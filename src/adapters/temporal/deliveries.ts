import { type Client, WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from "@temporalio/client";
import { ORCHESTRATOR_QUEUE, PRIORITY_KEY } from "../../core/requests/job.ts";
import type { Deliveries } from "../../core/webhooks/delivery-store.ts";
import { deliveryWorkflowId, fairnessKeyOf } from "../../core/webhooks/webhook.ts";
import { within } from "./within.ts";

/** Names that the workflow gives itself. */
const WEBHOOK_DELIVERY = "webhookDelivery";
const HURRY = "hurry";

/**
 * Deliveries started by operators, each under the id of the one that the job started: two of a request never
 * run at once.
 */
export const createDeliveries = (
  client: Client,
  { deadlineMs = 5_000 }: { deadlineMs?: number } = {},
): Deliveries => ({
  async start(delivery) {
    const workflowId = deliveryWorkflowId(delivery.requestId);
    const start = () =>
      within(
        deadlineMs,
        client.workflow.start(WEBHOOK_DELIVERY, {
          workflowId,
          taskQueue: ORCHESTRATOR_QUEUE,
          args: [delivery],
          workflowIdReusePolicy: "ALLOW_DUPLICATE",
          workflowIdConflictPolicy: "FAIL",
          priority: { priorityKey: PRIORITY_KEY.low, fairnessKey: fairnessKeyOf(delivery) },
          staticSummary: `webhook of ${delivery.endpoint}, by an operator`,
        }),
      );
    for (let tries = 1; ; tries++) {
      try {
        await start();
        return "started";
      } catch (error) {
        if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
      }
      try {
        await within(deadlineMs, client.workflow.getHandle(workflowId).signal(HURRY, delivery.url));
        return "hurried";
      } catch (error) {
        // It ended between the two calls: now it can be started.
        if (!(error instanceof WorkflowNotFoundError) || tries > 1) throw error;
      }
    }
  },
});

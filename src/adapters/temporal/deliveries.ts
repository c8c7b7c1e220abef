import { type Client, WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from "@temporalio/client";
import { ORCHESTRATOR_QUEUE, PRIORITY_KEY } from "../../core/requests/job.ts";
import type { Deliveries } from "../../core/webhooks/delivery-store.ts";
import { deliveryWorkflowId, fairnessKeyOf } from "../../core/webhooks/webhook.ts";
import { createTemporalCalls } from "./calls.ts";

/** The workflow type of a delivery, and its signal that makes the next attempt start now. */
const WEBHOOK_DELIVERY = "webhookDelivery";
const RETRY_NOW = "hurry";

/**
 * Creates the port that starts deliveries for operators. They have the workflow id of the delivery that the
 * job started, so that two deliveries of a request never run at once.
 */
export function createDeliveries(client: Client, calls = createTemporalCalls(client)): Deliveries {
  return {
    async start(delivery) {
      const workflowId = deliveryWorkflowId(delivery.requestId);
      const start = () =>
        calls.change(() =>
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
      for (let attempt = 1; ; attempt++) {
        try {
          await start();
          return "started";
        } catch (error) {
          if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
        }
        try {
          await calls.change(() => client.workflow.getHandle(workflowId).signal(RETRY_NOW, delivery.url));
          return "retried_now";
        } catch (error) {
          // It ended between the two calls, so it can be started now.
          if (!(error instanceof WorkflowNotFoundError) || attempt > 1) throw error;
        }
      }
    },
  };
}

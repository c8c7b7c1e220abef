/**
 * The end of a request's workflow: records the outcome, starts the delivery of the webhook, and closes the
 * workflow in the state that the Temporal UI should show.
 */
import {
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  ParentClosePolicy,
  startChild,
} from "@temporalio/workflow";
import { type JobSpec, PRIORITY_KEY } from "../core/requests/job.ts";
import type { Outcome } from "../core/requests/request.ts";
import { deliveryWorkflowId, fairnessKeyOf, type Webhook } from "../core/webhooks/webhook.ts";
import { type FinishedWork, recordOutcome } from "./inference.ts";
import { webhookDelivery } from "./webhook-delivery.ts";

/**
 * Records the outcome, unless it is recorded already, and starts the delivery of the job's webhook.
 *
 * Returns an outcome that has an output. Throws a `CancelledFailure` for a cancelled job, and otherwise an
 * `ApplicationFailure` whose details are the outcome and whether the attempts were exhausted.
 *
 * @param cause what the author's code of a pipeline threw; the failure shows its stack in the Temporal UI
 */
export async function closeJob({ recorded, ...ended }: FinishedWork, cause?: Error): Promise<Outcome> {
  const { job } = ended;
  const outcome = recorded
    ? ended.outcome
    : await CancellationScope.nonCancellable(() => recordOutcome(ended));
  const { webhook } = job;
  if (webhook)
    await CancellationScope.nonCancellable(() => startDelivery(job, webhook, outcome, ended.attempts));
  if (outcome.ok) return outcome;
  if (outcome.error.code === "client_cancelled") throw new CancelledFailure(outcome.error.message);
  throw ApplicationFailure.create({
    type: outcome.error.code,
    message: outcome.error.message,
    nonRetryable: true,
    details: [outcome, ended.exhausted],
    ...(cause && { cause }),
  });
}

/**
 * Starts the delivery of the job's webhook, which outlives the job. Resolves when Temporal has started it.
 */
async function startDelivery(
  job: JobSpec,
  webhook: Webhook,
  outcome: Outcome,
  jobAttempts: number,
): Promise<void> {
  const { requestId, ownerId, endpoint, retryOf } = job;
  await startChild(webhookDelivery, {
    workflowId: deliveryWorkflowId(requestId),
    args: [
      {
        ...webhook,
        requestId,
        ownerId,
        endpoint,
        outcome,
        jobAttempts,
        round: 1,
        ...(retryOf !== undefined && { retryOf }),
      },
    ],
    parentClosePolicy: ParentClosePolicy.ABANDON,
    // New jobs, which wait for their first step, go first.
    priority: { priorityKey: PRIORITY_KEY.low, fairnessKey: fairnessKeyOf(webhook) },
    staticSummary: `webhook of ${endpoint}`,
  });
}

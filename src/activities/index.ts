/**
 * The activities: the steps of workflows that do I/O, in folders by subject. This table gives their types and
 * names to workflows, types only, so that no driver reaches replayed code. The names are recorded in
 * histories.
 */

import type { createHoldSession } from "./inference/hold-session.ts";
import type { createInfer } from "./inference/infer.ts";
import type { createRecordOutcome } from "./inference/record-outcome.ts";
import type { createAcquireSlot, createReleaseSlot } from "./operations/concurrency-slots.ts";
import type { createReconcileUsage } from "./operations/reconcile-usage.ts";
import type { createRetentionStep } from "./operations/retention-step.ts";
import type {
  createCheckPipelineInput,
  createLoadValue,
  createStoreValue,
} from "./pipelines/pipeline-values.ts";
import type {
  createDeliverWebhook,
  createRecordAttempt,
  createWebhookHostHasCapacity,
} from "./webhooks/deliver-webhook.ts";

/** On the task queue `gpu/<endpoint>/<version>`. */
export interface GpuActivities {
  infer: ReturnType<typeof createInfer>;
}

/** On the task queue `orchestrator`, and as local activities there. */
export interface OrchestratorActivities {
  recordOutcome: ReturnType<typeof createRecordOutcome>;
  /** The recorded names of `acquireSlot` and `releaseSlot`. */
  enterPlace: ReturnType<typeof createAcquireSlot>;
  leavePlace: ReturnType<typeof createReleaseSlot>;
}

/** On the task queue `orchestrator`: values of pipelines that are too large for Temporal. */
export interface PipelineActivities {
  loadValue: ReturnType<typeof createLoadValue>;
  storeValue: ReturnType<typeof createStoreValue>;
  checkPipelineInput: ReturnType<typeof createCheckPipelineInput>;
}

/** On the task queue `orchestrator`. */
export interface RetentionActivities {
  retentionStep: ReturnType<typeof createRetentionStep>;
}

/** On the task queue `orchestrator`. */
export interface UsageActivities {
  reconcileUsage: ReturnType<typeof createReconcileUsage>;
}

/** On the task queue `webhooks`. */
export interface WebhookActivities {
  deliverWebhook: ReturnType<typeof createDeliverWebhook>;
  recordDeliveryAttempt: ReturnType<typeof createRecordAttempt>;
  webhookHostHasRoom: ReturnType<typeof createWebhookHostHasCapacity>;
}

/** On the task queue `gpu/<endpoint>/<version>`. */
export interface SessionActivities {
  holdSession: ReturnType<typeof createHoldSession>;
}

export type { PipelineEventSink, PipelineNode } from "./pipelines/pipeline-event-sink.ts";

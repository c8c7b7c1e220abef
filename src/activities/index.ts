/** The activities, as workflows see them: types only, so that no driver reaches replayed code. */
import type {
  createDeliverWebhook,
  createRecordAttempt,
  createWebhookHostHasRoom,
} from "./webhooks/deliver-webhook.ts";
import type { createHoldSession } from "./inference/hold-session.ts";
import type { createInfer } from "./inference/infer.ts";
import type {
  createCheckPipelineInput,
  createLoadValue,
  createStoreValue,
} from "./pipelines/pipeline-values.ts";
import type { createEnterPlace, createLeavePlace } from "./operations/concurrency-slots.ts";
import type { createReconcileUsage } from "./operations/reconcile-usage.ts";
import type { createRecordOutcome } from "./inference/record-outcome.ts";
import type { createRetentionStep } from "./operations/retention-step.ts";

/** On `gpu/<endpoint>/<version>`. */
export interface GpuActivities {
  infer: ReturnType<typeof createInfer>;
}

/** On `orchestrator`, and as local activities there. */
export interface OrchestratorActivities {
  recordOutcome: ReturnType<typeof createRecordOutcome>;
  enterPlace: ReturnType<typeof createEnterPlace>;
  leavePlace: ReturnType<typeof createLeavePlace>;
}

/** On `orchestrator`: values of pipelines that are too big to travel. */
export interface PipelineActivities {
  loadValue: ReturnType<typeof createLoadValue>;
  storeValue: ReturnType<typeof createStoreValue>;
  checkPipelineInput: ReturnType<typeof createCheckPipelineInput>;
}

/** On `orchestrator` too. */
export interface RetentionActivities {
  retentionStep: ReturnType<typeof createRetentionStep>;
}

/** On `orchestrator` too. */
export interface UsageActivities {
  reconcileUsage: ReturnType<typeof createReconcileUsage>;
}

/** On `webhooks`. */
export interface WebhookActivities {
  deliverWebhook: ReturnType<typeof createDeliverWebhook>;
  recordDeliveryAttempt: ReturnType<typeof createRecordAttempt>;
  webhookHostHasRoom: ReturnType<typeof createWebhookHostHasRoom>;
}

/** On `gpu/<endpoint>/<version>` too. */
export interface SessionActivities {
  holdSession: ReturnType<typeof createHoldSession>;
}

export type { PipelineNews } from "./pipelines/pipeline-event-sink.ts";

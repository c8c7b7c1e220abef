/** The activities, as workflows see them: types only, so that no driver reaches replayed code. */
import type { createDeliverWebhook, createRecordAttempt, createWebhookHostHasRoom } from "./deliver-webhook.ts";
import type { createHoldSession } from "./hold-session.ts";
import type { createInfer } from "./infer.ts";
import type { createCheckPipelineInput, createLoadValue, createStoreValue } from "./pipeline-values.ts";
import type { createEnterPlace, createLeavePlace } from "./places.ts";
import type { createRecordOutcome } from "./record-outcome.ts";

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

export type { PipelineNews } from "./pipeline-news.ts";

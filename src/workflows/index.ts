/**
 * The table of workflows. What is exported here is what Temporal can start; the name is the workflow type.
 */
export { inferenceJob } from "./inference-job.ts";
export { pipeline } from "./pipeline.ts";
export { realtimeSession } from "./realtime-session.ts";
export { retention } from "./retention.ts";
export { usageReconciliation } from "./usage-reconciliation.ts";
export { webhookDelivery } from "./webhook-delivery.ts";

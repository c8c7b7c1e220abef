/**
 * The table of workflows. Temporal can start what is exported here, and the name of the export is the
 * workflow type.
 *
 * Code in this folder is replayed in Temporal's sandbox: it must make the same decisions each time, does no
 * I/O and calls activities instead. `tests/replay` proves each change against recorded histories; a change
 * that breaks one needs `patched()`.
 */
export { inferenceJob } from "./inference-job.ts";
export { pipeline } from "./pipeline.ts";
export { realtimeSession } from "./realtime-session.ts";
export { retention } from "./retention.ts";
export { usageReconciliation } from "./usage-reconciliation.ts";
export { webhookDelivery } from "./webhook-delivery.ts";

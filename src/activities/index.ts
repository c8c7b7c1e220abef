/** The activities, as workflows see them: types only, so that no driver reaches replayed code. */
import type { createInfer } from "./infer.ts";
import type { createRecordOutcome } from "./record-outcome.ts";

/** On `gpu/<endpoint>/<version>`. */
export interface GpuActivities {
  infer: ReturnType<typeof createInfer>;
}

/** On `orchestrator`, and as local activities there. */
export interface OrchestratorActivities {
  recordOutcome: ReturnType<typeof createRecordOutcome>;
}

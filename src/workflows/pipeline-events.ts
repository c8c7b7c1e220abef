import { proxySinks, type Sinks } from "@temporalio/workflow";
import type { PipelineEventSink } from "../activities/index.ts";

/** `pipelineEvents` is the name under which the orchestrator registers the sink with its worker. */
interface RegisteredSinks extends Sinks {
  pipelineEvents: PipelineEventSink;
}

/** Returns the sink for the events of a pipeline's run. Its functions return at once and are not replayed. */
export function pipelineEvents(): PipelineEventSink {
  return proxySinks<RegisteredSinks>().pipelineEvents;
}

/** fal's wire, whole: what `api/` speaks. */
export { falError } from "./errors.ts";
export { type DescribedModel, llmsText, openapiDocument } from "./openapi.ts";
export {
  onGateway,
  parseQueuePath,
  proxyTarget,
  QUEUE_METHODS,
  type QueuePath,
  type QueueVerb,
  TREES,
  type Tree,
  treeOfHost,
} from "./paths.ts";
export {
  nodeCompletionEvent,
  nodeSubmitEvent,
  pipelineErrorEvent,
  pipelineOutputEvent,
  type StreamedNode,
} from "./pipeline-stream.ts";
export { type StatusView, statusBody, statusCode, submitBody, submitOptions, wantsLogs } from "./queue.ts";
export { SSE_HEADERS, SSE_OPEN, SSE_PING, sseEvent } from "./sse.ts";
export {
  cdnTokenBody,
  type FilePath,
  LIFECYCLE_HEADER,
  LIFECYCLE_PREFERENCE_HEADER,
  parseFilePath,
  readContentType,
  readInitiate,
  readParts,
  readSign,
  wantedLifecycle,
} from "./storage.ts";
export { parseStreamEventId, streamErrorEvent, streamEvent, streamEventId } from "./stream.ts";

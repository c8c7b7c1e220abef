/**
 * fal's wire formats: the paths, headers, bodies and events that `api/` reads and writes. Pure translation.
 */
export { CACHE_HEADER, wantsCache } from "./cache.ts";
export { falError } from "./errors.ts";
export { type DescribedModel, llmsText, openapiDocument } from "./openapi.ts";
export {
  onGateway,
  parseQueuePath,
  proxyTarget,
  QUEUE_METHODS,
  type QueueAction,
  type QueuePath,
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
export {
  logTimestamp,
  type StatusView,
  statusBody,
  statusCode,
  submitBody,
  submitOptions,
  wantsLogs,
  wantsNodes,
  wantsQueueLogs,
} from "./queue.ts";
export { type Rerun, readRerun } from "./rerun.ts";
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
  resolveLifecycle,
  setsLifetime,
} from "./storage.ts";
export { parseStreamEventId, streamErrorEvent, streamEvent, streamEventId } from "./stream.ts";

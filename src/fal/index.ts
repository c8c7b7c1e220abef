/** fal's wire, whole: what `api/` speaks. */
export { falError } from "./errors.ts";
export { parseQueuePath, proxyTarget, QUEUE_METHODS, type QueuePath, type QueueVerb, TREES } from "./paths.ts";
export { type StatusView, statusBody, statusCode, submitBody, submitOptions, wantsLogs } from "./queue.ts";
export { SSE_HEADERS, SSE_PING, sseEvent } from "./sse.ts";

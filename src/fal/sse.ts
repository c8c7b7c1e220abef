/**
 * Server-sent events as fal's clients can read them (contract §2.3, §4.2): LF only, one JSON value an event,
 * pings as comments, and nothing but ASCII on the wire, because the JavaScript client decodes chunk by chunk.
 */
import type { Json } from "../core/json/json.ts";

const asciiJson = (value: Json): string =>
  JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );

/** `id` is only given to events that can be resumed after (`Last-Event-ID`). */
export const sseEvent = (data: Json, id?: string): string =>
  `${id === undefined ? "" : `id: ${id}\n`}data: ${asciiJson(data)}\n\n`;

/** Opens a stream whose first event may be a while: headers and a first byte go out at once. */
export const SSE_OPEN = ": open\n\n";

export const SSE_PING = ": ping\n\n";

export const SSE_HEADERS = {
  "content-type": "text/event-stream",
  "cache-control": "no-store",
  // Tells nginx not to gather events before it passes them on.
  "x-accel-buffering": "no",
} as const;

/**
 * Server-sent events as fal's clients can read them (contract §2.3, §4.2): LF only, one JSON value per event,
 * pings as comments, and only ASCII on the wire, because the JavaScript client decodes chunk by chunk.
 */
import { writeJson } from "../core/json/exact-json.ts";
import type { Json } from "../core/json/json.ts";

const asciiJson = (value: Json): string =>
  writeJson(value).replace(
    /[\u007f-\uffff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );

/**
 * Encodes one event.
 *
 * @param id only for events after which a stream can be resumed (`Last-Event-ID`)
 */
export function sseEvent(data: Json, id?: string): string {
  return `${id === undefined ? "" : `id: ${id}\n`}data: ${asciiJson(data)}\n\n`;
}

/** Opens a stream whose first event may be late, so that headers and a first byte are sent at once. */
export const SSE_OPEN = ": open\n\n";

export const SSE_PING = ": ping\n\n";

export const SSE_HEADERS = {
  "content-type": "text/event-stream",
  "cache-control": "no-store",
  // Makes nginx pass each event on without buffering.
  "x-accel-buffering": "no",
} as const;

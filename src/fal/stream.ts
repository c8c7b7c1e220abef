/** Events of a model's stream (contract §4): translates ours to those that fal's clients read. */

import type { JsonObject } from "../core/json/json.ts";
import { parseEventId, type RequestEvent } from "../core/requests/events.ts";

/**
 * Translates an event of a running job; `undefined` when the stream does not show it. The output, which comes
 * last, is sent as it is.
 */
export function streamEvent(event: Exclude<RequestEvent, { type: "done" }>): JsonObject | undefined {
  switch (event.type) {
    case "progress": {
      const { step, steps, remainingMs } = event;
      return {
        type: "progress",
        step,
        steps,
        ...(remainingMs !== undefined && { remaining_seconds: Math.round(remainingMs / 100) / 10 }),
      };
    }
    case "preview":
      return {
        type: "preview",
        step: event.step,
        images: [{ url: `data:${event.contentType};base64,${event.data}`, content_type: event.contentType }],
      };
    default:
      return undefined;
  }
}

/** Builds the event of a failure in mid-stream, in the form of fal's workflow streams (contract §4.2). */
export function streamErrorEvent({ status, body }: { status: number; body: JsonObject }): JsonObject {
  const message = typeof body.detail === "string" ? body.detail : `Invalid status code: ${status}`;
  return { type: "error", message, error: { status, body } };
}

/**
 * Builds the id of a stream's event. It names the request too, because a resuming caller sends nothing else.
 */
export function streamEventId(requestId: string, eventId: string): string {
  return `${requestId}/${eventId}`;
}

/** Parses an id that `streamEventId` made; `undefined` for any other text. */
export function parseStreamEventId(text: string): { requestId: string; eventId: string } | undefined {
  const [requestId = "", eventId = "", ...rest] = text.split("/");
  return rest.length === 0 && parseEventId(eventId)
    ? { requestId: requestId.toLowerCase(), eventId }
    : undefined;
}

/**
 * The events of a model's stream (contract §4): pure translation from ours to what fal's clients are given.
 */
import { parseEventId } from "../core/requests/event-id.ts";
import type { RequestEvent } from "../core/requests/events.ts";
import type { JsonObject } from "../core/json/json.ts";

/**
 * What an event of a running job shows to who streams it; `undefined`: nothing. Its output, which comes last,
 * is bare.
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

/** A failure in mid-stream, as fal's workflow streams spell it (contract §4.2). */
export function streamErrorEvent({ status, body }: { status: number; body: JsonObject }): JsonObject {
  const message = typeof body.detail === "string" ? body.detail : `Invalid status code: ${status}`;
  return { type: "error", message, error: { status, body } };
}

/** The id of a stream's event names the request too: a caller who comes back says nothing else. */
export const streamEventId = (requestId: string, eventId: string): string => `${requestId}/${eventId}`;

/** `undefined` for anything that `streamEventId` did not make. */
export function parseStreamEventId(text: string): { requestId: string; eventId: string } | undefined {
  const [requestId = "", eventId = "", ...rest] = text.split("/");
  return rest.length === 0 && parseEventId(eventId)
    ? { requestId: requestId.toLowerCase(), eventId }
    : undefined;
}

import { LIMITS } from "../../core/limits.ts";
import { SSE_PING } from "../../fal/index.ts";

/**
 * Makes the body of a stream of server-sent events. Sends the `events`, and a comment after
 * `LIMITS.keepAliveMs` of silence. Pulls events one by one, as the reader takes them, and aborts `closed`
 * when the reader leaves.
 */
export function sseStream(
  events: AsyncGenerator<string>,
  closed: AbortController,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let ping: NodeJS.Timeout | undefined;
  return new ReadableStream<Uint8Array>({
    start(controller) {
      // A reader that has not taken the last comment needs no further one.
      ping = setInterval(
        () => (controller.desiredSize ?? 0) > 0 && controller.enqueue(encoder.encode(SSE_PING)),
        LIMITS.keepAliveMs,
      );
    },
    async pull(controller) {
      const { done, value } = await events.next().catch((error) => {
        clearInterval(ping); // a stream that breaks is not cancelled
        throw error;
      });
      if (closed.signal.aborted) return;
      if (!done) {
        ping?.refresh();
        return controller.enqueue(encoder.encode(value));
      }
      clearInterval(ping);
      controller.close();
    },
    cancel() {
      clearInterval(ping);
      closed.abort();
      void events.return(undefined);
    },
  });
}

import { LIMITS } from "../../core/limits.ts";
import { SSE_PING } from "../../fal/index.ts";

/**
 * The body of an answer in server-sent events. Sends what `events` gives, a comment after
 * `LIMITS.keepAliveMs` of silence, and aborts `gone` when the reader leaves. Events are asked for one by one,
 * as the reader takes them.
 */
export function sseStream(events: AsyncGenerator<string>, gone: AbortController): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let ping: NodeJS.Timeout | undefined;
  return new ReadableStream<Uint8Array>({
    start(controller) {
      // A reader who has not taken the last one needs no other.
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
      if (gone.signal.aborted) return;
      if (!done) {
        ping?.refresh();
        return controller.enqueue(encoder.encode(value));
      }
      clearInterval(ping);
      controller.close();
    },
    cancel() {
      clearInterval(ping);
      gone.abort();
      void events.return(undefined);
    },
  });
}

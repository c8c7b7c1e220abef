import { LIMITS } from "../../core/limits.ts";
import { SSE_PING } from "../../fal/index.ts";

/**
 * Makes the body of a stream of server-sent events. Sends the `events`, and a comment after
 * `LIMITS.keepAliveMs` of silence. Pulls events one by one, as the reader takes them, and aborts `closed`
 * when the reader leaves.
 *
 * @param open is disposed of at the end, however it comes
 */
export function sseStream(
  events: AsyncGenerator<string>,
  closed: AbortController,
  open: Disposable,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let ping: NodeJS.Timeout | undefined;
  const end = (): void => {
    clearInterval(ping);
    open[Symbol.dispose]();
  };
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
        end(); // a stream that breaks is not cancelled
        throw error;
      });
      if (closed.signal.aborted) return;
      if (!done) {
        ping?.refresh();
        return controller.enqueue(encoder.encode(value));
      }
      end();
      controller.close();
    },
    cancel() {
      end();
      closed.abort();
      void events.return(undefined);
    },
  });
}

import type { ServerResponse } from "node:http";
import { constants, Http2ServerResponse } from "node:http2";
import { LIMITS } from "../../core/limits.ts";

/**
 * Ends an answer of which its caller takes nothing for `stallMs` although bytes of it are waiting: it would
 * hold its connection, and what it is made of, for ever. An answer that has nothing to send yet, such as a
 * run's or a quiet stream's, is left alone. Node sees progress of any size, by the queue of the connection.
 */
export function endWhenStalled(
  answer: ServerResponse | Http2ServerResponse,
  stallMs: number = LIMITS.answerStallMs,
): void {
  answer.setTimeout(stallMs, () => {
    if (answer.writableLength === 0) return;
    // Not by `destroy`, which lets an answer that was ended wait until it is sent.
    if (answer instanceof Http2ServerResponse) answer.stream.close(constants.NGHTTP2_CANCEL);
    else answer.destroy();
  });
}

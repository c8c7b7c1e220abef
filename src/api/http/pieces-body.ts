/** Bytes that are handed to a connection at a time: what it has not taken yet is seen to be waiting. */
const CHUNK_BYTES = 64 * 1024;

/**
 * Makes the body of an answer from its pieces. They are handed on as the reader takes them.
 *
 * @param end is called once, when all of them are taken or the reader has left
 */
export function piecesBody(pieces: readonly Uint8Array[], end: () => void): ReadableStream<Uint8Array> {
  let [piece, at] = [0, 0];
  return new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        const current = pieces[piece];
        if (!current) {
          controller.close();
          return end();
        }
        controller.enqueue(current.subarray(at, at + CHUNK_BYTES));
        at += CHUNK_BYTES;
        if (at >= current.length) [piece, at] = [piece + 1, 0];
      },
      cancel: end,
    },
    // Nothing is taken ahead: after the last chunk, the reader has everything.
    { highWaterMark: 0 },
  );
}

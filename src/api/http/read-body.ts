import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { Json } from "../../core/json/json.ts";
import { jsonExcess } from "../../core/json/json-bounds.ts";
import { LIMITS } from "../../core/limits.ts";

/**
 * A body that is too large is read and dropped up to this multiple of the limit, so that the caller gets its
 * answer instead of a broken pipe.
 */
const DRAIN_FACTOR = 8;

/**
 * Reads a JSON body of at most `bytesMax` bytes; an absent one is `{}`. Rejects with `body_too_large`,
 * `request_body_timeout`, `body_not_json`, and `input_invalid` for one that would take too long to parse.
 */
export async function readJsonBody(c: Context, bytesMax: number): Promise<Json> {
  const declaredBytes = Number(c.req.header("content-length") ?? Number.NaN);
  const text = await withDeadline(declaredBytes <= bytesMax ? c.req.text() : readCounted(c, bytesMax));
  if (text.trim() === "") return {};
  const excess = jsonExcess(text, { depthMax: LIMITS.inputDepthMax, valuesMax: LIMITS.inputValuesMax });
  if (excess) throw excessError(excess);
  try {
    return JSON.parse(text) as Json;
  } catch (error) {
    throw new TemperaError("body_not_json", `The body is not valid JSON: ${(error as Error).message}`);
  }
}

function excessError(excess: "depth" | "values"): TemperaError {
  const fault =
    excess === "depth"
      ? { msg: `Input is nested deeper than ${LIMITS.inputDepthMax} levels`, type: "recursion_loop" }
      : {
          msg: `Input has more than ${LIMITS.inputValuesMax.toLocaleString("en-US")} values`,
          type: "sequence_too_long",
        };
  return new TemperaError("input_invalid", fault.msg, { faults: [{ loc: ["body"], ...fault }] });
}

/** Rejects when a body takes longer than `LIMITS.bodyMs`: it holds a connection and memory meanwhile. */
async function withDeadline(reading: Promise<string>): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TemperaError("request_body_timeout")), LIMITS.bodyMs);
  });
  return Promise.race([reading, timeout]).finally(() => clearTimeout(timer));
}

async function readCounted(c: Context, bytesMax: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of (c.req.raw.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    if (bytes <= bytesMax) chunks.push(chunk);
    if (bytes > bytesMax * DRAIN_FACTOR) break;
  }
  if (bytes > bytesMax) {
    throw new TemperaError(
      "body_too_large",
      `The body is larger than the ${bytesMax.toLocaleString("en-US")} bytes this server accepts; ` +
        "upload large files and send their URLs.",
    );
  }
  // Like `text()`, drops the byte order mark that some programs put before UTF-8.
  return new TextDecoder().decode(Buffer.concat(chunks));
}

import type { Context } from "hono";
import { type InputFault, isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import type { ContentCoding } from "../../core/files/content-coding.ts";
import { JsonNumberFault, parseJson } from "../../core/json/exact-json.ts";
import type { Json } from "../../core/json/json.ts";
import { jsonExcess } from "../../core/json/json-bounds.ts";
import { LIMITS } from "../../core/limits.ts";
import { bodyCoding, decodeBody } from "./decode-body.ts";

/**
 * A body that is too large is read and dropped up to this multiple of the limit, so that the caller gets its
 * answer instead of a broken pipe.
 */
const DRAIN_FACTOR = 8;

/**
 * Reads a JSON body of at most `bytesMax` bytes; an absent one is `{}`. A body in a content coding is
 * decoded, and measured as decoded. Rejects with `body_too_large`, `request_body_timeout`, `body_not_json`,
 * `content_encoding_unsupported`, `client_disconnected` when the caller breaks off, and `input_invalid` for
 * one that would take too long to parse.
 */
export async function readJsonBody(c: Context, bytesMax: number): Promise<Json> {
  const coding = bodyCoding(c.req.header("content-encoding"));
  const declaredBytes = Number(c.req.header("content-length") ?? Number.NaN);
  const isSmall = coding === undefined && declaredBytes <= bytesMax;
  const reading = isSmall ? c.req.text() : readCounted(c, bytesMax, coding);
  const text = await withDeadline(reading).catch((error) => {
    // Nobody but the caller can break a body.
    if (!isTemperaError(error)) throw new TemperaError("client_disconnected", undefined, { cause: error });
    throw error;
  });
  if (text.trim() === "") return {};
  const excess = jsonExcess(text, { depthMax: LIMITS.inputDepthMax, valuesMax: LIMITS.inputValuesMax });
  if (excess) throw excessError(excess);
  try {
    return parseJson(text);
  } catch (error) {
    if (error instanceof JsonNumberFault) throw inputFault(error.path, error.reason);
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
  return inputFault([], fault);
}

function inputFault(path: (string | number)[], reason: Pick<InputFault, "msg" | "type">): TemperaError {
  const faults = [{ loc: ["body", ...path], ...reason }];
  return new TemperaError("input_invalid", reason.msg, { faults });
}

/** Rejects when a body takes longer than `LIMITS.bodyMs`: it holds a connection and memory meanwhile. */
async function withDeadline(reading: Promise<string>): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TemperaError("request_body_timeout")), LIMITS.bodyMs);
  });
  return Promise.race([reading, timeout]).finally(() => clearTimeout(timer));
}

async function readCounted(c: Context, bytesMax: number, coding: ContentCoding | undefined): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of (c.req.raw.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    if (bytes <= bytesMax) chunks.push(chunk);
    if (bytes > bytesMax * DRAIN_FACTOR) break;
  }
  if (bytes > bytesMax) throw tooLarge(bytesMax);
  const body = Buffer.concat(chunks);
  const decoded = coding === undefined ? body : await decodeBody(body, coding, bytesMax);
  if (decoded === "too_large") throw tooLarge(bytesMax);
  // Like `text()`, drops the byte order mark that some programs put before UTF-8.
  return new TextDecoder().decode(decoded);
}

function tooLarge(bytesMax: number): TemperaError {
  return new TemperaError(
    "body_too_large",
    `The body is larger than the ${bytesMax.toLocaleString("en-US")} bytes this server accepts; ` +
      "upload large files and send their URLs.",
  );
}

import type { Context } from "hono";
import { type InputFault, isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import type { ContentCoding } from "../../core/files/content-coding.ts";
import { JsonNumberFault, parseJson } from "../../core/json/exact-json.ts";
import type { Json } from "../../core/json/json.ts";
import { type JsonBounds, jsonExcess } from "../../core/json/json-bounds.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Hold } from "../limits/budget.ts";
import { bodyShareOf, isLargeBody } from "./body-share.ts";
import { bodyCoding, decodeBody } from "./decode-body.ts";

/**
 * A body that is too large is read and dropped up to this multiple of the limit, so that the caller gets its
 * answer instead of a broken pipe.
 */
const DRAIN_FACTOR = 8;

/** Bytes that a chunk takes in memory besides its own. Callers may send chunks of one byte. */
const CHUNK_OVERHEAD_BYTES = 512;

/**
 * Reads a JSON body of at most `bytesMax` bytes and `fieldsMax` fields; an absent one is `{}`. One in a
 * content coding is decoded, and measured as decoded. Its bytes count to the budget of bodies from their
 * arrival until the call has ended, and a large one is parsed in its sender's turn (`body-share.ts`).
 *
 * Rejects with `body_too_large`, `request_body_timeout`, `body_not_json`, `content_encoding_unsupported`,
 * `client_disconnected` when the caller breaks off, `input_invalid` for one that would take too long to
 * parse, and as `Budget.acquire` does.
 */
export async function readJsonBody(
  c: Context,
  bytesMax: number,
  fieldsMax: number = LIMITS.inputFieldsMax,
): Promise<Json> {
  const { hold, turns, sender } = bodyShareOf(c);
  const coding = bodyCoding(c.req.header("content-encoding"));
  const declaredBytes = Number(c.req.header("content-length") ?? Number.NaN);
  const isSmall = coding === undefined && declaredBytes <= Math.min(bytesMax, LIMITS.bodyWindowBytesMin);
  if (isSmall) hold.resize(declaredBytes);
  // Not by `c.req`, which would keep the text.
  const reading = isSmall ? inTime(c.req.raw.text(), () => 0) : readCounted(c, hold, { bytesMax, coding });
  const text = await reading.catch((error) => {
    // Nobody but the caller can break a body.
    if (!isTemperaError(error)) throw new TemperaError("client_disconnected", undefined, { cause: error });
    throw error;
  });
  return isLargeBody({ hold })
    ? turns.take(sender, () => readText(text, fieldsMax))
    : readText(text, fieldsMax);
}

/** Throws as `readJsonBody` rejects. */
function readText(text: string, fieldsMax: number): Json {
  if (text.trim() === "") return {};
  const bounds = { depthMax: LIMITS.inputDepthMax, valuesMax: LIMITS.inputValuesMax, fieldsMax };
  const excess = jsonExcess(text, bounds);
  if (excess) throw excessError(excess, bounds);
  try {
    return parseJson(text);
  } catch (error) {
    if (error instanceof JsonNumberFault) throw inputFault(error.path, error.reason);
    throw new TemperaError("body_not_json", `The body is not valid JSON: ${(error as Error).message}`);
  }
}

/** Drops a body that nobody needs, as it comes, so that it does not wait in memory while its call is open. */
export function dropBody(c: Context): void {
  const drop = async (): Promise<void> => {
    for await (const _ of (c.req.raw.body ?? []) as AsyncIterable<Uint8Array>);
  };
  drop().catch(() => {}); // the caller has left
}

function excessError(excess: "depth" | "values" | "fields", bounds: JsonBounds): TemperaError {
  if (excess === "depth")
    return inputFault([], {
      msg: `Input is nested deeper than ${bounds.depthMax} levels`,
      type: "recursion_loop",
    });
  const most = excess === "values" ? bounds.valuesMax : bounds.fieldsMax;
  return inputFault([], {
    msg: `Input has more than ${most.toLocaleString("en-US")} ${excess}`,
    type: "sequence_too_long",
  });
}

function inputFault(path: (string | number)[], reason: Pick<InputFault, "msg" | "type">): TemperaError {
  const faults = [{ loc: ["body", ...path], ...reason }];
  return new TemperaError("input_invalid", reason.msg, { faults });
}

/**
 * Rejects when a body takes longer than `LIMITS.bodyMs`, and when less than `LIMITS.bodyWindowBytesMin` of it
 * has arrived within `LIMITS.bodyWindowMs`: it holds a connection and memory meanwhile.
 *
 * @param arrived gives the bytes so far
 */
async function inTime<T>(reading: Promise<T>, arrived: () => number): Promise<T> {
  let window: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    let [before, leftMs] = [0, LIMITS.bodyMs as number];
    window = setInterval(() => {
      leftMs -= LIMITS.bodyWindowMs;
      const bytes = arrived();
      if (leftMs <= 0 || bytes - before < LIMITS.bodyWindowBytesMin)
        reject(new TemperaError("request_body_timeout"));
      before = bytes;
    }, LIMITS.bodyWindowMs);
  });
  return Promise.race([reading, late]).finally(() => clearInterval(window));
}

async function readCounted(
  c: Context,
  hold: Hold,
  { bytesMax, coding }: { bytesMax: number; coding: ContentCoding | undefined },
): Promise<string> {
  const arriving = new ArrivingBody(hold, bytesMax);
  const body = await inTime(arriving.read(c.req.raw.body), () => arriving.bytes);
  if (coding === undefined) return asText(body);
  const decoded = await decodeBody(body, coding, {
    bytesMax,
    onBytes: (bytes) => hold.resize(body.length + bytes),
  });
  if (decoded === "too_large") throw tooLarge(bytesMax);
  hold.resize(decoded.length);
  return asText(decoded);
}

/** Decodes UTF-8. Like `text()`, drops the byte order mark that some programs put before it. */
const asText = (body: Buffer): string => new TextDecoder().decode(body);

/** A body that is read chunk by chunk. Once it is refused, the rest of it is dropped as it arrives. */
class ArrivingBody {
  readonly #hold: Hold;
  readonly #bytesMax: number;
  #chunks: Uint8Array[] = [];
  #refusal: unknown;
  /** The bytes that have arrived. */
  bytes = 0;

  constructor(hold: Hold, bytesMax: number) {
    this.#hold = hold;
    this.#bytesMax = bytesMax;
  }

  /** Rejects with `body_too_large`, and as `Budget.acquire` does. */
  async read(stream: ReadableStream<Uint8Array> | null): Promise<Buffer> {
    for await (const chunk of (stream ?? []) as AsyncIterable<Uint8Array>) {
      this.bytes += chunk.length;
      if (this.bytes > this.#bytesMax * DRAIN_FACTOR) break;
      if (this.bytes > this.#bytesMax) this.#refuse(tooLarge(this.#bytesMax));
      else if (this.#refusal === undefined) this.#take(chunk);
    }
    if (this.#refusal !== undefined) throw this.#refusal;
    const body = Buffer.concat(this.#chunks);
    this.#chunks = [];
    this.#hold.resize(body.length);
    return body;
  }

  #take(chunk: Uint8Array): void {
    try {
      this.#hold.resize(this.#hold.amount + chunk.length + CHUNK_OVERHEAD_BYTES);
      this.#chunks.push(chunk);
    } catch (error) {
      this.#refuse(error);
    }
  }

  #refuse(error: unknown): void {
    if (this.#refusal !== undefined) return;
    this.#refusal = error;
    this.#chunks = [];
    if (this.#hold.amount > 0) this.#hold.resize(0);
  }
}

function tooLarge(bytesMax: number): TemperaError {
  return new TemperaError(
    "body_too_large",
    `The body is larger than the ${bytesMax.toLocaleString("en-US")} bytes this server accepts; ` +
      "upload large files and send their URLs.",
  );
}

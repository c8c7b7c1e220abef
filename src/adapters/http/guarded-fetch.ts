import { isIP, type LookupFunction } from "node:net";
import { Readable } from "node:stream";
import { Client, type Dispatcher } from "undici";
import { timeoutSignal } from "../../core/concurrency/timeout-signal.ts";
import { onAbort, withAbort } from "../../core/concurrency/with-abort.ts";
import { isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import {
  ACCEPTED_CODINGS,
  type ContentCoding,
  contentCodingOf,
  decodeContent,
  Undecodable,
} from "../../core/files/content-coding.ts";
import { LIMITS } from "../../core/limits.ts";
import { type AllowedPrivate, mayReach } from "../../core/operations/address-policy.ts";
import type {
  Download,
  DownloadLimits,
  GuardedHttp,
  HttpPost,
  PostResult,
} from "../../core/operations/guarded-http.ts";
import { type Resolve, resolveName } from "./resolve.ts";

export interface GuardedFetchOptions {
  allowed: AllowedPrivate;
  /** URL prefixes that may be reached whatever their address: the platform's own files. */
  trusted?: readonly string[];
  /** Resolves names; for tests. @default resolveName */
  resolve?: Resolve;
}

const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const USER_AGENT = "tempera";
/** Characters of an entity tag that is sent back. */
const ETAG_LENGTH_MAX = 200;

/** Returns `scheme://host[:port]/path` of a URL for messages, without query and credentials. */
function shown(url: string): string {
  if (!URL.canParse(url)) return "the address";
  const { origin, pathname } = new URL(url);
  const text = `${origin}${pathname}`;
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

/** Origin and path of a URL. Signed addresses of one file differ in their queries. */
function locationOf(url: string): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}

/** Codes of errors of a connection that ended before its response did. */
const BROKEN = new Set(["ECONNRESET", "EPIPE", "UND_ERR_SOCKET", "UND_ERR_RES_CONTENT_LENGTH_MISMATCH"]);
const isBroken = (error: unknown): boolean => BROKEN.has((error as { code?: string }).code ?? "");

/**
 * Describes a failed connection as a predicate. It leaves out the resolved addresses: they are for operators
 * only.
 */
function reason(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  if (isBroken(error)) return "broke the connection";
  switch (code) {
    case "ECONNREFUSED":
      return "refused the connection";
    case "UND_ERR_CONNECT_TIMEOUT":
    case "ETIMEDOUT":
      return "did not answer in time";
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return "cannot be reached";
    default:
      return `failed (${code ?? message ?? "no reason given"})`;
  }
}

/** A refusal, or a failure before there was a response; its message is a whole sentence. */
class NotReached extends Error {}

/** A host that fails for now: the same request may succeed later. Its message is a whole sentence. */
class FailsForNow extends NotReached {
  constructor(
    message: string,
    /** Milliseconds that the host asks to wait, if it does. */
    readonly retryAfterMs?: number,
  ) {
    super(message);
  }
}

/** Reports whether a status tells of a passing failure. 501 is a decision of the host. */
const isForNow = (status: number): boolean =>
  status === 408 || status === 425 || status === 429 || (status >= 500 && status !== 501);

/**
 * Reads `Retry-After` (RFC 9110 §10.2.3) as milliseconds; `undefined` when it is absent or malformed. A date
 * counts from the host's own clock.
 */
function retryAfterMsOf(headers: Dispatcher.ResponseData["headers"]): number | undefined {
  const value = String(headers["retry-after"] ?? "").trim();
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  const untilMs = Date.parse(value) - (Date.parse(String(headers.date)) || Date.now());
  return Number.isNaN(untilMs) ? undefined : Math.max(0, untilMs);
}

/**
 * Creates an HTTP client for addresses that callers name. Each request has a connection of its own to an
 * address that was checked, and no connection is shared between callers.
 */
export function createGuardedFetch(options: GuardedFetchOptions): GuardedHttp {
  const send = sending(options);
  return {
    post: (posting) => post(send, posting),
    download: (url, limits) => download(send, url, limits),
  };
}

interface OutboundRequest {
  method: "GET" | "POST";
  headers: Record<string, string>;
  body?: Buffer | Readable;
  signal: AbortSignal;
}

/** Sends one request to a checked address. `close` ends the connection, whatever is still under way. */
type Send = (
  url: string,
  request: OutboundRequest,
) => Promise<{ response: Dispatcher.ResponseData; close: () => void }>;

function sending({ allowed, trusted = [], resolve = resolveName }: GuardedFetchOptions): Send {
  /** Resolves a URL's host to the addresses that may be connected to. */
  async function checkedAddresses(url: URL): Promise<string[]> {
    const name = url.hostname.replace(/^\[(.*)\]$/, "$1");
    const addresses = await resolve(name).catch((error: Error) => {
      throw new NotReached(`${shown(url.href)}: ${error.message}`);
    });
    const open = trusted.some((base) => url.href.startsWith(base))
      ? addresses
      : addresses.filter((address) => mayReach(address, allowed));
    if (open.length === 0) {
      throw new NotReached(
        `${shown(url.href)} leads to an address that is not public; ` +
          "the operator can allow it with TEMPERA_ALLOW_PRIVATE_ADDRESSES.",
      );
    }
    return open;
  }

  return async (address, { method, headers, body, signal }) => {
    const url = new URL(address);
    signal.throwIfAborted();
    const addresses = await withAbort(checkedAddresses(url), signal);
    const client = new Client(url.origin, {
      connect: { lookup: lookupOf(addresses), timeout: LIMITS.outboundConnectMs },
      pipelining: 0,
      headersTimeout: 0,
      bodyTimeout: 0,
      maxHeaderSize: LIMITS.outboundHeaderBytesMax,
    });
    const close = () => void client.destroy().catch(() => {});
    try {
      const response = await client.request({
        method,
        path: `${url.pathname}${url.search}`,
        headers: { "user-agent": USER_AGENT, ...headers },
        body: body ?? null,
        signal,
      });
      response.body.on("error", () => {}); // reported to its reader, if there is one
      return { response, close };
    } catch (error) {
      close();
      signal.throwIfAborted();
      const message = `${url.host} ${reason(error)}`;
      throw isBroken(error) ? new FailsForNow(message) : new NotReached(message, { cause: error });
    }
  };
}

/** Pins a connection to these addresses. An IP address in a URL needs no lookup, and was checked as it is. */
const lookupOf =
  (addresses: readonly string[]): LookupFunction =>
  (_name, options, callback) => {
    const found = addresses.map((each) => ({ address: each, family: isIP(each) }));
    if (options.all) callback(null, found);
    else callback(null, found[0]?.address ?? "", found[0]?.family);
  };

async function post(
  send: Send,
  { url, headers, bytes, body, timeoutMs, signal }: HttpPost,
): Promise<PostResult> {
  const timeout = AbortSignal.timeout(timeoutMs);
  const either = signal ? AbortSignal.any([timeout, signal]) : timeout;
  try {
    const { response, close } = await send(url, {
      method: "POST",
      headers: { ...headers, "content-length": String(bytes) },
      body,
      signal: either,
    });
    try {
      return { status: response.statusCode, answer: await beginning(response.body, either) };
    } finally {
      close();
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (timeout.aborted) return { error: `${new URL(url).host} did not answer within ${timeoutMs / 1000} s` };
    return { error: error instanceof Error ? error.message : String(error) };
  } finally {
    if (body instanceof Readable) body.destroy();
  }
}

async function download(
  send: Send,
  address: string,
  { bytesMax, timeoutMs, signal, ifNoneMatch }: DownloadLimits,
): Promise<Download> {
  const timeout = AbortSignal.timeout(timeoutMs);
  const either = AbortSignal.any([timeout, signal]);
  let url = address;
  const failed = (error: unknown): unknown => {
    if (signal.aborted) return signal.reason;
    if (isTemperaError(error)) return error;
    const late = timeout.aborted ? `took longer than ${timeoutMs / 1000} s` : undefined;
    return downloadError(error, shown(url), late);
  };
  for (let hops = 0; ; hops++) {
    let close: (() => void) | undefined;
    try {
      const headers = {
        accept: "*/*",
        "accept-encoding": ACCEPTED_CODINGS,
        ...(ifNoneMatch?.from === locationOf(url) && { "if-none-match": ifNoneMatch.etag }),
      };
      const sent = await send(url, { method: "GET", headers, signal: either });
      close = sent.close;
      const { response } = sent;
      if (REDIRECTS.has(response.statusCode)) {
        url = nextHop(url, response.headers.location, hops);
        close();
        continue;
      }
      if (ifNoneMatch?.from === locationOf(url) && response.statusCode === 304) {
        close();
        return { contentType: "", body: Readable.from([]), isUnchanged: true };
      }
      const { coding, announced, contentType } = readHead(response, shown(url), bytesMax);
      const body = bounded(response.body, { close, failed, bytesMax, announced, coding });
      const { etag } = response.headers;
      return {
        contentType,
        body: Readable.from(body, { objectMode: false }),
        ...(typeof etag === "string" &&
          etag.length <= ETAG_LENGTH_MAX && { entity: { etag, from: locationOf(url) } }),
      };
    } catch (error) {
      close?.();
      throw failed(error);
    }
  }
}

/**
 * Returns the error of a failed download for its caller.
 *
 * @param late the predicate to report instead, when the time was over
 */
function downloadError(error: unknown, address: string, late: string | undefined): TemperaError {
  const whole = late === undefined && error instanceof NotReached;
  const said = error instanceof Undecodable ? error.message : reason(error);
  const why = whole ? error.message : `${address} ${late ?? said}`;
  const message = `The file cannot be downloaded: ${why}`;
  if (late !== undefined || !(error instanceof FailsForNow || isBroken(error)))
    return new TemperaError("file_download_error", message, { cause: error });
  const { retryAfterMs } = error as FailsForNow;
  return new TemperaError("file_unavailable", message, {
    cause: error,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  });
}

/** Reads the head of a response that is no redirect. Throws when its body is not to be read. */
function readHead(
  { statusCode, headers }: Dispatcher.ResponseData,
  address: string,
  bytesMax: number,
): { contentType: string; announced: number; coding: ContentCoding | undefined } {
  if (isForNow(statusCode))
    throw new FailsForNow(`${address} answers ${statusCode}.`, retryAfterMsOf(headers));
  if (statusCode < 200 || statusCode > 299) throw new NotReached(`${address} answers ${statusCode}.`);
  const announced = Number(headers["content-length"] ?? 0);
  if (announced > bytesMax) throw tooLarge(bytesMax);
  const encoding = String(headers["content-encoding"] ?? "");
  const coding = contentCodingOf(encoding);
  if (coding === "unsupported")
    throw new NotReached(
      `${address} answers with the content encoding ${encoding.slice(0, 40)}, which is not read.`,
    );
  const type = headers["content-type"];
  const contentType = (typeof type === "string" ? type : "application/octet-stream").slice(0, 200);
  return { contentType, announced, coding };
}

const tooLarge = (bytesMax: number): TemperaError =>
  new TemperaError("file_too_large", `The file is larger than ${bytesMax.toLocaleString("en-US")} bytes.`);

/** Returns a redirect's target. From https to http is refused, since others could replace the file there. */
function nextHop(from: string, location: string | string[] | undefined, hops: number): string {
  if (typeof location !== "string" || !URL.canParse(location, from))
    throw new NotReached(`${shown(from)} redirects to nowhere.`);
  if (hops >= LIMITS.redirectsMax)
    throw new NotReached(`${shown(from)} redirects more than ${LIMITS.redirectsMax} times.`);
  const next = new URL(location, from);
  const isAllowed =
    next.protocol === "https:" || (next.protocol === "http:" && new URL(from).protocol === "http:");
  if (!isAllowed)
    throw new NotReached(`${shown(from)} redirects to ${next.protocol}, which is not followed.`);
  return next.href;
}

interface Bounds {
  /** Called at the end. */
  close: () => void;
  /** Translates an error for the reader. */
  failed: (error: unknown) => unknown;
  bytesMax: number;
  /** The response's `content-length`, 0 when it has none. */
  announced: number;
  /** The coding of its body, if it has one. */
  coding: ContentCoding | undefined;
}

/** Yields the decoded bytes of a response: at most `bytesMax`, and not fewer than were announced. */
async function* bounded(
  body: Readable,
  { close, failed, bytesMax, announced, coding }: Bounds,
): AsyncGenerator<Buffer> {
  let bytes = 0;
  const received = upTo(body as AsyncIterable<Buffer>, bytesMax, (count) => {
    bytes = count;
  });
  try {
    yield* coding === undefined ? received : upTo(decodeContent(received, coding), bytesMax);
    if (announced > 0 && bytes < announced)
      throw new FailsForNow("the connection broke before the end of the file.");
  } catch (error) {
    throw failed(error);
  } finally {
    close();
  }
}

/** Passes chunks on until they have more than `bytesMax` bytes. `count` is told the bytes so far. */
async function* upTo(
  chunks: AsyncIterable<Buffer>,
  bytesMax: number,
  count?: (bytes: number) => void,
): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const chunk of chunks) {
    bytes += chunk.length;
    count?.(bytes);
    if (bytes > bytesMax) throw tooLarge(bytesMax);
    yield chunk;
  }
}

/** Longest wait for the body of a response, in milliseconds: it is shown to people and decides nothing. */
const BODY_MS = 1_000;

/**
 * Reads the first `LIMITS.webhookAnswerBytesMax` bytes of a response as text, or those that arrive in time.
 */
async function beginning(body: Readable, signal: AbortSignal): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const timeout = timeoutSignal(BODY_MS);
  const end = AbortSignal.any([signal, timeout.signal]);
  const subscription = onAbort(end, () => body.destroy());
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      chunks.push(chunk.subarray(0, LIMITS.webhookAnswerBytesMax - bytes));
      bytes += chunk.length;
      if (bytes >= LIMITS.webhookAnswerBytesMax) break;
    }
  } catch {
    // The response broke off: what arrived is returned.
  } finally {
    subscription[Symbol.dispose]();
    timeout[Symbol.dispose]();
  }
  return Buffer.concat(chunks).toString("utf8");
}

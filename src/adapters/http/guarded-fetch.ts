import { isIP, type LookupFunction } from "node:net";
import { Readable } from "node:stream";
import { Client, type Dispatcher } from "undici";
import { onAbort, withAbort } from "../../core/concurrency/with-abort.ts";
import { isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import { type AllowedPrivate, mayReach } from "../../core/operations/address-policy.ts";
import type { Download, GuardedHttp, HttpPost, PostResult } from "../../core/operations/guarded-http.ts";
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

/** Returns `scheme://host[:port]/path` of a URL for messages, without query and credentials. */
function shown(url: string): string {
  if (!URL.canParse(url)) return "the address";
  const { origin, pathname } = new URL(url);
  const text = `${origin}${pathname}`;
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

/**
 * Describes a failed connection as a predicate. It leaves out the resolved addresses: they are for operators
 * only.
 */
function reason(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  switch (code) {
    case "ECONNREFUSED":
      return "refused the connection";
    case "ECONNRESET":
    case "UND_ERR_SOCKET":
    case "EPIPE":
      return "broke the connection";
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
      throw new NotReached(`${url.host} ${reason(error)}`, { cause: error });
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
  { bytesMax, timeoutMs, signal }: { bytesMax: number; timeoutMs: number; signal: AbortSignal },
): Promise<Download> {
  const timeout = AbortSignal.timeout(timeoutMs);
  const either = AbortSignal.any([timeout, signal]);
  let url = address;
  const failed = (error: unknown): unknown => {
    if (signal.aborted) return signal.reason;
    if (isTemperaError(error)) return error;
    const whole = error instanceof NotReached;
    const late = `took longer than ${timeoutMs / 1000} s`;
    const why = timeout.aborted ? late : whole ? error.message : reason(error);
    return new TemperaError(
      "file_download_error",
      `The file cannot be downloaded: ${whole ? why : `${shown(url)} ${why}`}`,
      { cause: error },
    );
  };
  for (let hops = 0; ; hops++) {
    let close: (() => void) | undefined;
    try {
      const sent = await send(url, { method: "GET", headers: { accept: "*/*" }, signal: either });
      close = sent.close;
      const { response } = sent;
      if (REDIRECTS.has(response.statusCode)) {
        url = nextHop(url, response.headers.location, hops);
        close();
        continue;
      }
      if (response.statusCode < 200 || response.statusCode > 299)
        throw new NotReached(`${shown(url)} answers ${response.statusCode}.`);
      const announced = Number(response.headers["content-length"] ?? 0);
      if (announced > bytesMax) throw tooLarge(bytesMax);
      const type = response.headers["content-type"];
      return {
        contentType: (typeof type === "string" ? type : "application/octet-stream").slice(0, 200),
        body: Readable.from(bounded(response.body, { close, failed, bytesMax, announced }), {
          objectMode: false,
        }),
      };
    } catch (error) {
      close?.();
      throw failed(error);
    }
  }
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
}

/** Yields the bytes of a response: at most `bytesMax`, and not fewer than were announced. */
async function* bounded(
  body: Readable,
  { close, failed, bytesMax, announced }: Bounds,
): AsyncGenerator<Buffer> {
  let bytes = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > bytesMax) throw tooLarge(bytesMax);
      yield chunk;
    }
    if (announced > 0 && bytes < announced)
      throw new NotReached("the connection broke before the end of the file.");
  } catch (error) {
    throw failed(error);
  } finally {
    close();
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
  const end = AbortSignal.any([signal, AbortSignal.timeout(BODY_MS)]);
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
  }
  return Buffer.concat(chunks).toString("utf8");
}

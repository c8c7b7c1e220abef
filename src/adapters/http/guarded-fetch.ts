import { isIP, type LookupFunction } from "node:net";
import { Readable } from "node:stream";
import { Client, type Dispatcher } from "undici";
import { type AllowedPrivate, mayReach } from "../../core/operations/address-policy.ts";
import { isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { GuardedHttp } from "../../core/operations/guarded-http.ts";
import { type Resolve, resolveName } from "./resolve.ts";

export interface GuardedFetchOptions {
  allowed: AllowedPrivate;
  /** Addresses that are reached wherever they lie, with all below them: the platform's own files. */
  trusted?: readonly string[];
  /** How names become addresses; the system's way, unless a test needs another. */
  resolve?: Resolve;
}

const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const USER_AGENT = "tempera";

/** `scheme://host[:port]/path` of a URL, for messages: no query, no credentials. */
function shown(url: string): string {
  if (!URL.canParse(url)) return "the address";
  const { origin, pathname } = new URL(url);
  const text = `${origin}${pathname}`;
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

/**
 * What a failed connection means, in words. Addresses that were judged are not repeated: they are the
 * operator's business.
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

/** A refusal or failure before there was an answer; its message is the whole sentence. */
class NotReached extends Error {}

/**
 * HTTP to addresses that callers name, over connections that live for one request: what was judged is what is
 * connected to, and nothing is shared between callers.
 */
export function createGuardedFetch({
  allowed,
  trusted = [],
  resolve = resolveName,
}: GuardedFetchOptions): GuardedHttp {
  /** The addresses behind a URL's host that may be connected to. */
  async function judged(url: URL): Promise<string[]> {
    const name = url.hostname.replace(/^\[(.*)\]$/, "$1");
    const addresses = await resolve(name).catch((error: Error) => {
      throw new NotReached(`${shown(url.href)}: ${error.message}`);
    });
    const open = trusted.some((base) => url.href.startsWith(base))
      ? addresses
      : addresses.filter((address) => mayReach(address, allowed));
    if (open.length === 0) {
      throw new NotReached(
        `${shown(url.href)} leads to an address that is not public; the operator can allow it with TEMPERA_ALLOW_PRIVATE_ADDRESSES.`,
      );
    }
    return open;
  }

  /**
   * One request, to the addresses that were judged. `close` ends the connection, whatever is still under way.
   */
  async function request(
    address: string,
    {
      method,
      headers,
      body,
      signal,
    }: {
      method: "GET" | "POST";
      headers: Record<string, string>;
      body?: Buffer | Readable;
      signal: AbortSignal;
    },
  ): Promise<{ answer: Dispatcher.ResponseData; close: () => void }> {
    const url = new URL(address);
    const addresses = await until(signal, judged(url));
    // A literal host is connected to without a look-up, and was judged as it stands.
    const pinned: LookupFunction = (_name, options, callback) => {
      const found = addresses.map((each) => ({ address: each, family: isIP(each) }));
      if (options.all) callback(null, found);
      else callback(null, found[0]?.address ?? "", found[0]?.family);
    };
    const client = new Client(url.origin, {
      connect: { lookup: pinned, timeout: LIMITS.outboundConnectMs },
      pipelining: 0,
      headersTimeout: 0,
      bodyTimeout: 0,
      maxHeaderSize: LIMITS.outboundHeaderBytesMax,
    });
    const close = () => void client.destroy().catch(() => {});
    try {
      const answer = await client.request({
        method,
        path: `${url.pathname}${url.search}`,
        headers: { "user-agent": USER_AGENT, ...headers },
        body: body ?? null,
        signal,
      });
      answer.body.on("error", () => {}); // what reads it hears of it; what does not, need not
      return { answer, close };
    } catch (error) {
      close();
      signal.throwIfAborted();
      throw new NotReached(`${url.host} ${reason(error)}`, { cause: error });
    }
  }

  return {
    async post({ url, headers, bytes, body, timeoutMs, signal }) {
      const clock = AbortSignal.timeout(timeoutMs);
      const either = signal ? AbortSignal.any([clock, signal]) : clock;
      try {
        const { answer, close } = await request(url, {
          method: "POST",
          headers: { ...headers, "content-length": String(bytes) },
          body,
          signal: either,
        });
        try {
          return { status: answer.statusCode, said: await beginning(answer.body, either) };
        } finally {
          close();
        }
      } catch (error) {
        signal?.throwIfAborted();
        if (clock.aborted)
          return { error: `${new URL(url).host} did not answer within ${timeoutMs / 1000} s` };
        return { error: error instanceof Error ? error.message : String(error) };
      } finally {
        if (body instanceof Readable) body.destroy();
      }
    },

    async download(address, { bytesMax, timeoutMs, signal }) {
      const clock = AbortSignal.timeout(timeoutMs);
      const either = AbortSignal.any([clock, signal]);
      const failed = (error: unknown, url: string): unknown => {
        if (signal.aborted) return signal.reason;
        if (isTemperaError(error)) return error;
        const why = clock.aborted
          ? `took longer than ${timeoutMs / 1000} s`
          : error instanceof NotReached
            ? error.message
            : reason(error);
        const sentence = error instanceof NotReached ? why : `${shown(url)} ${why}`;
        return new TemperaError("file_download_error", `The file cannot be downloaded: ${sentence}`, {
          cause: error,
        });
      };
      let url = address;
      for (let hops = 0; ; hops++) {
        let close: (() => void) | undefined;
        try {
          const asked = await request(url, { method: "GET", headers: { accept: "*/*" }, signal: either });
          close = asked.close;
          const { answer } = asked;
          if (REDIRECTS.has(answer.statusCode)) {
            url = nextHop(url, answer.headers.location, hops);
            close();
            continue;
          }
          if (answer.statusCode < 200 || answer.statusCode > 299)
            throw new NotReached(`${shown(url)} answers ${answer.statusCode}.`);
          const announced = Number(answer.headers["content-length"] ?? 0);
          if (announced > bytesMax) throw tooLarge(bytesMax);
          const type = answer.headers["content-type"];
          return {
            contentType: (typeof type === "string" ? type : "application/octet-stream").slice(0, 200),
            body: Readable.from(
              bounded(answer.body, asked.close, (error) => failed(error, url), bytesMax, announced),
              { objectMode: false },
            ),
          };
        } catch (error) {
          close?.();
          throw failed(error, url);
        }
      }
    },
  };
}

const tooLarge = (bytesMax: number): TemperaError =>
  new TemperaError("file_too_large", `The file is larger than ${bytesMax.toLocaleString("en-US")} bytes.`);

/** A redirect's target; no way from https back to http, where the file could be exchanged. */
function nextHop(from: string, location: string | string[] | undefined, hops: number): string {
  if (typeof location !== "string" || !URL.canParse(location, from))
    throw new NotReached(`${shown(from)} redirects to nowhere.`);
  if (hops >= LIMITS.redirectsMax)
    throw new NotReached(`${shown(from)} redirects more than ${LIMITS.redirectsMax} times.`);
  const next = new URL(location, from);
  const legal =
    next.protocol === "https:" || (next.protocol === "http:" && new URL(from).protocol === "http:");
  if (!legal) throw new NotReached(`${shown(from)} redirects to ${next.protocol}, which is not followed.`);
  return next.href;
}

/**
 * The bytes of an answer, at most `bytesMax` and as many as were announced. Closes the connection at its end.
 */
async function* bounded(
  body: Readable,
  close: () => void,
  failed: (error: unknown) => unknown,
  bytesMax: number,
  announced: number,
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

/** How long the rest of an answer may take once its head was there: it is for people, and decides nothing. */
const SAID_MS = 1_000;

/**
 * The first `LIMITS.webhookAnswerBytesMax` bytes of an answer, as text; what cannot be read in time is left
 * out.
 */
async function beginning(body: Readable, signal: AbortSignal): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const end = AbortSignal.any([signal, AbortSignal.timeout(SAID_MS)]);
  const stop = () => body.destroy();
  end.addEventListener("abort", stop, { once: true });
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      chunks.push(chunk.subarray(0, LIMITS.webhookAnswerBytesMax - bytes));
      bytes += chunk.length;
      if (bytes >= LIMITS.webhookAnswerBytesMax) break;
    }
  } catch {
    // Broken off: what came is what there is.
  } finally {
    end.removeEventListener("abort", stop);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** Rejects when the signal aborts, whether or not the work has ended. */
async function until<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  signal.throwIfAborted();
  let stop = () => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
    work.catch(() => {});
  }
}

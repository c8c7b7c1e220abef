import type { Readable } from "node:stream";

/** A POST request to an address that a caller named. */
export interface HttpPost {
  url: string;
  headers: Record<string, string>;
  /** Length of `body`. */
  bytes: number;
  body: Buffer | Readable;
  /** Longest time from the name lookup to the head of the response. */
  timeoutMs: number;
  signal?: AbortSignal;
}

/** The receiver's status and the beginning of its response, or the reason that there is none. */
export type PostResult = { status: number; answer: string } | { error: string };

/** The response of a GET request. */
export interface Download {
  contentType: string;
  /**
   * Fails with `file_too_large`, `file_unavailable` or `file_download_error` when it is too large,
   * interrupted or too slow. It is decoded from the content coding of the response.
   */
  body: Readable;
  /** The file as its host names it, for a later `ifNoneMatch`; absent when it has no entity tag. */
  entity?: Entity;
  /** The host has answered 304: it still has what `ifNoneMatch` names. `body` is empty then. */
  isUnchanged?: true;
}

/** A file as its host names it. */
export interface Entity {
  /** Entity tag (RFC 9110 §8.8.3). */
  etag: string;
  /** Origin and path that it came from, after redirects: others may have the same tag for another file. */
  from: string;
}

export interface DownloadLimits {
  bytesMax: number;
  timeoutMs: number;
  signal: AbortSignal;
  /** The file that the caller keeps, and does not need again. */
  ifNoneMatch?: Entity;
}

/**
 * Sends requests to addresses that callers named. Only public addresses are reached, and those that the
 * configuration allows. A name is judged by the address that it resolves to, and the connection goes to that
 * address.
 */
export interface GuardedHttp {
  /**
   * Sends one POST request. It follows no redirects and reads at most a few KiB of the response. Rejects only
   * when `signal` aborts.
   */
  post(posting: HttpPost): Promise<PostResult>;

  /**
   * Sends one GET request and follows at most `LIMITS.redirectsMax` redirects, each judged like the first.
   * Rejects with `file_download_error`, `file_too_large`, or `file_unavailable` when the host fails for now;
   * that one has `retryAfterMs` if the host gave it. The message repeats neither query nor credentials.
   */
  download(url: string, limits: DownloadLimits): Promise<Download>;
}

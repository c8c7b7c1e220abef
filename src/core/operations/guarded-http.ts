import type { Readable } from "node:stream";

export interface HttpPost {
  url: string;
  headers: Record<string, string>;
  /** Length of `body`. */
  bytes: number;
  body: Buffer | Readable;
  /** From the name look-up to the head of the answer. */
  timeoutMs: number;
  signal?: AbortSignal;
}

/**
 * What became of a posting: the receiver's status and the beginning of what it said, or why there is none.
 */
export type PostResult = { status: number; answer: string } | { error: string };

export interface Download {
  contentType: string;
  /**
   * Ends with an error (`file_too_large`, `file_download_error`) when it breaks off, grows too large or takes
   * too long.
   */
  body: Readable;
}

/**
 * Requests to addresses that callers name. Only public addresses are reached, or those the configuration
 * allows; a name is judged by what it resolves to, and the connection goes to the address that was judged.
 */
export interface GuardedHttp {
  /**
   * One POST. Redirects are not followed; at most a few KiB of the answer are read. Rejects only when
   * `signal` aborts.
   */
  post(posting: HttpPost): Promise<PostResult>;

  /**
   * One GET, at most `LIMITS.redirectsMax` redirects followed, each judged like the first. Rejects with
   * `file_download_error` or `file_too_large`, in a sentence that repeats neither query nor credentials.
   */
  download(
    url: string,
    limits: { bytesMax: number; timeoutMs: number; signal: AbortSignal },
  ): Promise<Download>;
}

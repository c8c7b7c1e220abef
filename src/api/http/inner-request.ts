/** The request of each signal that was handed on. */
const requests = new WeakMap<AbortSignal, Request>();

/**
 * Makes a request that the gateway sends to itself. Its signal aborts with `init.signal` for as long as
 * anybody holds it: undici aborts it only while the request itself is alive, and a stream holds the signal
 * alone.
 */
export function createInnerRequest(url: string | URL, init: RequestInit): Request {
  const request = new Request(url, init);
  requests.set(request.signal, request);
  return request;
}

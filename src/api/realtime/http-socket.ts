import type { IncomingMessage } from "node:http";
import type { RawData, WebSocket } from "ws";
import { sleep } from "../../core/concurrency/sleep.ts";
import { onAbort } from "../../core/concurrency/with-abort.ts";
import { isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import { appOf, isEndpointId, pathSegments } from "../../core/models/endpoint.ts";
import { assertEndpointPermitted } from "../../core/owners/key-permissions.ts";
import { newRequestId } from "../../core/requests/request-id.ts";
import { TREES } from "../../fal/index.ts";
import { endFrame, mayLookLikeFrame, type SocketAddress, startFrame } from "../../fal/realtime.ts";
import { callOfUpgrade } from "../auth/call.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { createInnerRequest } from "../http/inner-request.ts";
import { REQUEST_ID_HEADER } from "../http/request-id.ts";
import type { Hold } from "../limits/budget.ts";
import { createFindRequest } from "../requests/find-request.ts";
import { sayNearest } from "../requests/nearest-endpoint.ts";
import { cancelJob } from "../run/cancel-job.ts";
import { followJob } from "../run/follow-job.ts";
import { endSocket, type OpenedSocket, type ServedSocket, sendOrTerminate } from "./socket-end.ts";

/** Calls the gateway's own routes without a network. `env` has the message that the caller sent. */
export type InnerFetch = (
  request: Request,
  env: { incoming: IncomingMessage },
) => Response | Promise<Response>;

type Api = Pick<
  ApiDependencies,
  | "keyRing"
  | "registry"
  | "events"
  | "requests"
  | "jobs"
  | "objects"
  | "clock"
  | "log"
  | "bodyBytesMax"
  | "budgets"
>;

/** Time between two reads of a result while a store is away. */
const POLL_MS = 1_000;

/** Headers of an answer that concern its HTTP connection, and not the socket. */
const HOP_HEADERS = new Set([
  "connection",
  "content-length",
  "keep-alive",
  "transfer-encoding",
  "server-timing",
]);

/**
 * Serves HTTP over WebSocket (contract §5.5). Each text message is the input of one request, which is run as
 * a request of the queue. Its answer is a `start` frame with status and headers, the body in one frame (on
 * `/ws/{id}/stream` in one for each event), and an `end` frame. Several payloads are answered in order.
 *
 * The upgrade itself is refused with 401 (the key) or 404 (the endpoint). The running request of a caller who
 * disconnects is cancelled.
 */
export function createHttpSocket(api: Api, fetchInner: InnerFetch) {
  return async ({ path }: SocketAddress, request: IncomingMessage): Promise<OpenedSocket> => {
    const segments = pathSegments(path);
    const endpoint = segments.join("/");
    const caller = await api.keyRing.authenticate(
      request.headers.authorization,
      callOfUpgrade(request),
      appOf(endpoint),
    );
    const streamed = segments.at(-1) === "stream" && !api.registry.route(endpoint);
    const model = streamed ? segments.slice(0, -1).join("/") : endpoint;
    assertEndpointPermitted(caller, model);
    if (!isEndpointId(model) || !api.registry.route(model)) {
      const nearest = sayNearest(api.registry, model, caller);
      throw new TemperaError(
        "endpoint_unknown",
        `Application "${appOf(endpoint).split("/").at(-1)}" not found${nearest}`,
      );
    }
    const call = createInnerCall(fetchInner, request);
    const { ownerId } = caller;
    const answer = streamed ? viaStream(call, model) : viaQueue(api, caller, call, model);
    return { ownerId, serve: (ws) => new PayloadSocket(api, { ws, ownerId, answer }) };
  };
}

/** Calls a route of the gateway on the caller's behalf. */
type InnerCall = (
  method: string,
  target: string,
  init?: { body?: Buffer; signal?: AbortSignal },
) => Promise<Response>;

function createInnerCall(fetchInner: InnerFetch, incoming: IncomingMessage): InnerCall {
  const { headers } = incoming;
  // `X-Fal-Queue-Priority` and similar headers of the upgrade apply to every payload.
  const falHeaders = Object.fromEntries(
    Object.entries(headers).filter(
      (entry): entry is [string, string] => entry[0].startsWith("x-fal-") && typeof entry[1] === "string",
    ),
  );
  const authorization = headers.authorization ?? "";
  const forwarded = headers["x-forwarded-for"];
  return async (method, target, { body, signal } = {}) =>
    fetchInner(
      createInnerRequest(`http://gateway${target}`, {
        method,
        headers: {
          ...falHeaders,
          authorization,
          "content-type": "application/json",
          ...(forwarded !== undefined && { "x-forwarded-for": String(forwarded) }),
        },
        ...(body && { body }),
        ...(signal && { signal }),
      }),
      { incoming },
    );
}

/** Answers one payload. `closed` aborts when its socket closes. */
type Answer = (payload: Buffer, closed: AbortSignal) => Promise<Response>;

/** Answers through the queue: submits the payload, waits for the end and reads the result. */
function viaQueue(api: Api, caller: Caller, call: InnerCall, endpoint: string): Answer {
  const findRequest = createFindRequest(api);
  return async (payload, closed) => {
    const submitted = await call("POST", `${TREES.queue.prefix}/${endpoint}`, { body: payload });
    if (submitted.status !== 200) return submitted;
    const { request_id: requestId } = (await submitted.json()) as { request_id: string };
    const address = `${TREES.queue.prefix}/${appOf(endpoint)}/requests/${requestId}`;
    using _subscription = onAbort(closed, () => cancelJob(api, requestId));
    for (;;) {
      for await (const { event } of followJob({ api, findRequest }, { caller, requestId }, closed))
        if (event.type === "done") break;
      const result = await call("GET", address);
      // While a store is away, the result is read again until it is known.
      if (result.status !== 400 && result.status < 500) return result;
      if (closed.aborted || !(await isPending(result))) return result;
      await sleep(POLL_MS, closed).catch(() => {});
    }
  };
}

/** Tells whether a result should be read again: the request goes on, or a store is away for the moment. */
async function isPending(answer: Response): Promise<boolean> {
  if (answer.headers.get("x-fal-error-type")) return false;
  if (answer.status === 503) return true;
  const { detail } = (await answer.clone().json()) as { detail?: unknown };
  return answer.status === 400 && detail === "Request is still in progress";
}

/** Answers with a streamed run, in one frame for each event. */
function viaStream(call: InnerCall, endpoint: string): Answer {
  return (payload, closed) =>
    call("POST", `${TREES.run.prefix}/${endpoint}/stream`, { body: payload, signal: closed });
}

/** A socket whose payloads are answered one after another. It closes when too many wait or after idleness. */
class PayloadSocket implements ServedSocket {
  readonly #api: Pick<Api, "log" | "bodyBytesMax">;
  readonly #ws: WebSocket;
  readonly #answer: Answer;
  readonly #waiting: Buffer[] = [];
  /** The bytes of those that wait. */
  readonly #waitingBytes: Hold;
  #working = false;
  readonly #closed = new AbortController();
  readonly #idle: NodeJS.Timeout;

  constructor(
    api: Pick<Api, "log" | "bodyBytesMax" | "budgets">,
    { ws, ownerId, answer }: { ws: WebSocket; ownerId: string; answer: Answer },
  ) {
    this.#api = api;
    this.#ws = ws;
    this.#answer = answer;
    this.#waitingBytes = api.budgets.bodies.acquire(ownerId, 0);
    this.#idle = setTimeout(() => this.#onIdle(), LIMITS.socketIdleMs);
    ws.once("close", () => {
      this.#closed.abort();
      clearTimeout(this.#idle);
      this.#waiting.length = 0;
      this.#waitingBytes[Symbol.dispose]();
    });
    ws.on("message", (data: RawData) => this.#onPayload(data as Buffer));
  }

  async goAway(): Promise<void> {
    endSocket(this.#ws, 1012, "The gateway restarts; connect again.");
  }

  #onIdle(): void {
    if (this.#working) this.#idle.refresh();
    else endSocket(this.#ws, 1000, "idle");
  }

  #onPayload(payload: Buffer): void {
    if (this.#ws.readyState !== this.#ws.OPEN) return; // it is closing, and its payloads are ignored
    const { bodyBytesMax, log } = this.#api;
    const bytes = this.#waitingBytes.amount + payload.length;
    if (this.#waiting.length >= LIMITS.socketPayloadsMax || bytes > bodyBytesMax)
      return void this.#refuse(1008, "Too many payloads wait for their answer.");
    try {
      this.#waitingBytes.resize(bytes);
    } catch (error) {
      if (!isTemperaError(error)) throw error;
      return void this.#refuse(1013, error.message);
    }
    this.#waiting.push(payload);
    this.#work().catch((error) => {
      log.error({ err: error }, "HTTP over WebSocket failed");
      endSocket(this.#ws, 1011, "Internal Server Error");
    });
  }

  #refuse(code: number, reason: string): void {
    this.#waiting.length = 0;
    this.#waitingBytes.resize(0);
    endSocket(this.#ws, code, reason);
  }

  /** Answers the waiting payloads, unless that is under way already. */
  async #work(): Promise<void> {
    if (this.#working) return;
    this.#working = true;
    const { signal } = this.#closed;
    for (let next = this.#waiting.shift(); next && !signal.aborted; next = this.#waiting.shift()) {
      this.#waitingBytes.resize(this.#waitingBytes.amount - next.length);
      const receivedAtMs = performance.now();
      const response = await this.#answer(next, signal);
      await relay(this.#ws, response, receivedAtMs, signal);
      this.#idle.refresh();
    }
    this.#working = false;
  }
}

/**
 * Sends an HTTP answer as frames. A stream is cancelled as soon as `closed` aborts, not at its next event.
 */
async function relay(
  ws: WebSocket,
  response: Response,
  receivedAtMs: number,
  closed: AbortSignal,
): Promise<void> {
  const { status } = response;
  const requestId = response.headers.get(REQUEST_ID_HEADER) ?? newRequestId();
  const headers = Object.fromEntries([...response.headers].filter(([name]) => !HOP_HEADERS.has(name)));
  const type = response.headers.get("content-type") ?? "";
  sendOrTerminate(ws, startFrame(requestId, status, headers));
  const seconds = (performance.now() - receivedAtMs) / 1000;
  if (type.startsWith("text/event-stream") && response.body) {
    const reader = response.body.getReader();
    using _subscription = onAbort(closed, () => void reader.cancel().catch(() => {}));
    for await (const data of eventData(reader)) sendBody(ws, data);
  } else if (/^(text\/|application\/json)/.test(type)) sendBody(ws, await response.text());
  else sendOrTerminate(ws, new Uint8Array(await response.arrayBuffer()));
  sendOrTerminate(ws, endFrame(requestId, status, seconds));
}

/** Sends a body as text, or as bytes when clients may take the text for a frame of ours. */
const sendBody = (ws: WebSocket, text: string): void =>
  sendOrTerminate(ws, mayLookLikeFrame(text) ? Buffer.from(text) : text);

/**
 * Yields the `data` of each server-sent event. Our own streams have LF only and one `data` line per event
 * (contract §4.2).
 */
async function* eventData(body: ReadableStreamDefaultReader<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await body.read();
    if (done) return;
    const events = (rest + decoder.decode(value, { stream: true })).split("\n\n");
    rest = events.pop() ?? "";
    for (const event of events) {
      const data = event.split("\n").filter((line) => line.startsWith("data:"));
      if (data.length > 0) yield data.map((line) => line.slice(5).trimStart()).join("\n");
    }
  }
}

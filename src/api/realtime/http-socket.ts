import type { IncomingMessage } from "node:http";
import type { RawData, WebSocket } from "ws";
import { appOf, isEndpointId, pathSegments } from "../../core/models/endpoint.ts";
import { isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import { pause } from "../../core/concurrency/sleep.ts";
import { newRequestId } from "../../core/requests/request-id.ts";
import { TREES } from "../../fal/index.ts";
import { endFrame, looksLikeFrame, type SocketAddress, startFrame } from "../../fal/realtime.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { createFindRequest } from "../requests/find-request.ts";
import type { Caller } from "../auth/key-ring.ts";
import { REQUEST_ID_HEADER } from "../http/request-id.ts";
import { followJob } from "../run/follow-job.ts";
import { createInFlight } from "../run/in-flight.ts";
import type { ByteBudget } from "./byte-budget.ts";
import { endSocket, type ServedSocket, sendOn } from "./socket-end.ts";

/** The gateway's own routes, called without a network in between. */
export type InnerFetch = (request: Request) => Response | Promise<Response>;

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
  | "runsMax"
> & {
  /** What waits in all sockets of the gateway. */
  inputs: ByteBudget;
};

/** How often a result is asked for while the event log is away. */
const POLL_MS = 1_000;

/** Headers of an answer that say something about the connection it did not come by. */
const HOP_HEADERS = new Set([
  "connection",
  "content-length",
  "keep-alive",
  "transfer-encoding",
  "server-timing",
]);

/**
 * Serves HTTP over WebSocket (contract §5.5): each text message is the input of one request, carried as a
 * queue request is. It is answered by a `start` frame with status and headers, the body in one frame (one for
 * each event of a stream, on `/ws/{id}/stream`), and an `end` frame; several payloads are answered in the
 * order they came.
 *
 * The upgrade itself is refused with 401 (the key) or 404 (the endpoint); a socket beyond the owner's
 * `runsMax` is closed with 1013. A caller who leaves cancels what runs.
 */
export const createHttpSocket = (api: Api, fetchInner: InnerFetch) => {
  const open = createInFlight(() => api.runsMax, "sockets open", "Close one first.");
  return async (
    { path }: SocketAddress,
    { headers }: IncomingMessage,
  ): Promise<(ws: WebSocket) => ServedSocket> => {
    const authorization = headers.authorization ?? "";
    const segments = pathSegments(path);
    const endpoint = segments.join("/");
    const caller = await api.keyRing.authenticate(headers.authorization, appOf(endpoint));
    const streamed = segments.at(-1) === "stream" && !api.registry.route(endpoint);
    const model = streamed ? segments.slice(0, -1).join("/") : endpoint;
    if (!isEndpointId(model) || !api.registry.route(model)) {
      throw new TemperaError(
        "endpoint_unknown",
        `Application "${appOf(endpoint).split("/").at(-1)}" not found`,
      );
    }
    // `X-Fal-Queue-Priority` and its like on the upgrade hold for every payload.
    const steering = Object.fromEntries(
      Object.entries(headers).filter(
        (entry): entry is [string, string] => entry[0].startsWith("x-fal-") && typeof entry[1] === "string",
      ),
    );
    const inner: Inner = (method, target, { body, signal } = {}) =>
      Promise.resolve(
        fetchInner(
          new Request(`http://gateway${target}`, {
            method,
            headers: { ...steering, authorization, "content-type": "application/json" },
            ...(body && { body }),
            ...(signal && { signal }),
          }),
        ),
      );
    return (ws) => {
      try {
        // Counted only here, where there is a socket whose close gives the place back.
        const place = open.take(caller.ownerId);
        ws.once("close", () => place[Symbol.dispose]());
      } catch (error) {
        if (!isTemperaError(error)) throw error;
        const leave = () => endSocket(ws, 1013, error.message);
        leave();
        return { goAway: async () => leave() };
      }
      return serve(api, ws, streamed ? streamAnswer(inner, model) : queueAnswer(api, caller, inner, model));
    };
  };
};

/** Gives the answer to one payload. */
type Answer = (payload: Buffer, gone: AbortSignal) => Promise<Response>;
type Inner = (
  method: string,
  target: string,
  init?: { body?: Buffer; signal?: AbortSignal },
) => Promise<Response>;

/** As a request of the queue: submit, wait for the end, give the result. */
const queueAnswer = (api: Api, caller: Caller, inner: Inner, endpoint: string): Answer => {
  const findRequest = createFindRequest(api);
  return async (payload, gone) => {
    const submitted = await inner("POST", `${TREES.queue.prefix}/${endpoint}`, { body: payload });
    if (submitted.status !== 200) return submitted;
    const { request_id: requestId } = (await submitted.json()) as { request_id: string };
    const address = `${TREES.queue.prefix}/${appOf(endpoint)}/requests/${requestId}`;
    const cancel = (): void =>
      void inner("PUT", `${address}/cancel`).catch((error) =>
        api.log.warn({ requestId, err: error }, "not cancelled"),
      );
    gone.addEventListener("abort", cancel, { once: true });
    if (gone.aborted) cancel();
    try {
      for (;;) {
        for await (const { event } of followJob({ api, findRequest }, { caller, requestId }, gone))
          if (event.type === "done") break;
        const result = await inner("GET", address);
        // A store may be away: then it is asked until it knows.
        if (result.status !== 400 && result.status < 500) return result;
        if (gone.aborted || (await unfinished(result)) === false) return result;
        await pause(POLL_MS, gone);
      }
    } finally {
      gone.removeEventListener("abort", cancel);
    }
  };
};

/** Whether a result's answer means "ask again": the request goes on, or a store is away for the moment. */
async function unfinished(answer: Response): Promise<boolean> {
  if (answer.headers.get("x-fal-error-type")) return false;
  if (answer.status === 503) return true;
  const { detail } = (await answer.clone().json()) as { detail?: unknown };
  return answer.status === 400 && detail === "Request is still in progress";
}

/** As a streamed run: one frame for each event. */
const streamAnswer =
  (inner: Inner, endpoint: string): Answer =>
  (payload, gone) =>
    inner("POST", `${TREES.run.prefix}/${endpoint}/stream`, { body: payload, signal: gone });

function serve(
  { log, bodyBytesMax, inputs }: Pick<Api, "log" | "bodyBytesMax" | "inputs">,
  ws: WebSocket,
  answer: Answer,
): ServedSocket {
  const waiting: Buffer[] = [];
  let waitingBytes = 0;
  let working = false;
  const gone = new AbortController();
  ws.once("close", () => gone.abort());
  const idle: NodeJS.Timeout = setTimeout(
    () => (working ? void idle.refresh() : endSocket(ws, 1000, "idle")),
    LIMITS.socketIdleMs,
  );
  ws.once("close", () => clearTimeout(idle));
  const forget = (): void => {
    inputs.remove(waitingBytes);
    waitingBytes = 0;
    waiting.length = 0;
  };
  ws.once("close", forget);

  const work = async (): Promise<void> => {
    if (working) return;
    working = true;
    for (let payload = waiting.shift(); payload && !gone.signal.aborted; payload = waiting.shift()) {
      waitingBytes -= payload.length;
      inputs.remove(payload.length);
      const askedAtMs = performance.now();
      const response = await answer(payload, gone.signal);
      await relay(ws, response, askedAtMs, gone.signal);
      idle.refresh();
    }
    working = false;
  };

  ws.on("message", (data: RawData) => {
    if (ws.readyState !== ws.OPEN) return; // it is being closed, and nothing of it is kept
    const payload = data as Buffer;
    waiting.push(payload);
    waitingBytes += payload.length;
    inputs.add(payload.length);
    if (inputs.over) {
      forget();
      return endSocket(ws, 1013, "Too much waits in this gateway; try again later.");
    }
    if (waiting.length > LIMITS.socketPayloadsMax || waitingBytes > bodyBytesMax) {
      forget();
      return endSocket(ws, 1008, "Too many payloads wait for their answer.");
    }
    work().catch((error) => {
      log.error({ err: error }, "HTTP over WebSocket broke");
      endSocket(ws, 1011, "Internal Server Error");
    });
  });
  return { goAway: async () => endSocket(ws, 1012, "The gateway restarts; connect again.") };
}

/** An HTTP answer as frames. A stream whose caller leaves is cancelled then, not at its next event. */
async function relay(ws: WebSocket, response: Response, askedAtMs: number, gone: AbortSignal): Promise<void> {
  const { status } = response;
  const requestId = response.headers.get(REQUEST_ID_HEADER) ?? newRequestId();
  const headers = Object.fromEntries([...response.headers].filter(([name]) => !HOP_HEADERS.has(name)));
  const type = response.headers.get("content-type") ?? "";
  sendOn(ws, startFrame(requestId, status, headers));
  const seconds = (performance.now() - askedAtMs) / 1000;
  if (type.startsWith("text/event-stream") && response.body) {
    const reader = response.body.getReader();
    const leave = (): void => void reader.cancel().catch(() => {});
    gone.addEventListener("abort", leave, { once: true });
    if (gone.aborted) leave();
    for await (const data of eventData(reader)) sendBody(ws, data);
    gone.removeEventListener("abort", leave);
  } else if (/^(text\/|application\/json)/.test(type)) sendBody(ws, await response.text());
  else sendOn(ws, new Uint8Array(await response.arrayBuffer()));
  sendOn(ws, endFrame(requestId, status, seconds));
}

/** A text that would be taken for one of our own frames goes as bytes. */
const sendBody = (ws: WebSocket, text: string): void =>
  sendOn(ws, looksLikeFrame(text) ? Buffer.from(text) : text);

/**
 * The `data` of each server-sent event. Our own streams have LF only and one `data` line an event (contract
 * §4.2).
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

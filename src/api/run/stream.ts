import type { Context } from "hono";
import { onAbort } from "../../core/concurrency/with-abort.ts";
import { errorInfo, isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import { retrieve } from "../../core/files/stored-value.ts";
import type { JsonObject } from "../../core/json/json.ts";
import { appOf } from "../../core/models/endpoint.ts";
import type { LoggedEvent, RequestEvent } from "../../core/requests/events.ts";
import { isRequestId } from "../../core/requests/request.ts";
import {
  falError,
  parseStreamEventId,
  SSE_HEADERS,
  SSE_OPEN,
  sseEvent,
  streamErrorEvent,
  streamEvent,
  streamEventId,
} from "../../fal/index.ts";
import type { Route } from "../../registry/registry.ts";
import { callOf } from "../auth/call.ts";
import type { Caller } from "../auth/key-ring.ts";
import { callerOfToken } from "../auth/token-caller.ts";
import { followCaller } from "../http/output-addresses.ts";
import { dropBody } from "../http/read-body.ts";
import { REQUEST_ID_HEADER, requestIdOf, setRequestId } from "../http/request-id.ts";
import { sseStream } from "../http/sse-stream.ts";
import { acquireSlot } from "../limits/acquire-slot.ts";
import { type CountedReads, countedReads } from "../limits/counted-reads.ts";
import { findCallerRoute } from "../requests/caller-route.ts";
import { createFindRequest } from "../requests/find-request.ts";
import { queueJob } from "../requests/queue-job.ts";
import { prepareSubmission, readSubmission } from "../requests/submission.ts";
import { cancelJob } from "./cancel-job.ts";
import { followJob } from "./follow-job.ts";
import { createPipelineStream } from "./pipeline-stream.ts";
import { type RunApi, releaseSlot } from "./run.ts";
import { readRunInput } from "./run-input.ts";

/** Time for a disconnected caller to return with `Last-Event-ID`, before the stream's job is cancelled. */
const RETURN_WITHIN_MS = 5_000;

/** A job whose events a stream sends. */
interface StreamedJob {
  caller: Caller;
  requestId: string;
  /** The last event that the caller received over a previous connection. */
  afterId?: string;
  /** The events that the caller received over a previous connection. */
  sentEvents: RequestEvent[];
  /** The number of times that a caller has resumed the stream. */
  resumptions: number;
  /** True when the job is known to have begun as a stream: then it ends when its caller does not return. */
  beganAsStream: boolean;
}

/** Translates an event of a job into the bodies of the stream's events. */
type Translate = (event: RequestEvent) => AsyncIterable<JsonObject>;

interface StreamContext {
  api: RunApi;
  findRequest: ReturnType<typeof createFindRequest>;
}

/**
 * Runs a model and sends its events as they happen, as server-sent events (contract §4): progress and
 * previews, the whole output last. A failure after the stream has opened is an error event and then a clean
 * end.
 *
 * Every event has an id. A caller who lost the connection returns with `Last-Event-ID` within
 * `RETURN_WITHIN_MS` (at any time, when it was the gateway that stopped) and gets the remaining events; the
 * body is dropped then. 204 when there are none: browsers connect again after a clean end, and stop at that
 * answer. The job of a caller who does not return is cancelled. Only streams can be resumed: a request of the
 * queue outlives its observers (contract §2.5).
 */
export function createStream(api: RunApi) {
  const context = { api, findRequest: createFindRequest(api) };

  return async (c: Context, endpoint: string): Promise<Response> => {
    const caller = await authenticate(api, c, endpoint);
    const route = await findCallerRoute(api, caller, { endpoint, requestId: requestIdOf(c) });
    const open = api.budgets.openCalls.acquire(caller.ownerId);
    try {
      const disconnected = new AbortController();
      // Browsers' event sources send an empty id to reset it.
      const lastEventId = c.req.header("last-event-id") || undefined;
      const resumed =
        lastEventId === undefined
          ? undefined
          : await resume(context, caller, (route.model ?? route.pipeline).endpoint, lastEventId);
      if (resumed) dropBody(c);
      if (resumed === "ended") {
        open[Symbol.dispose]();
        return c.body(null, 204, {
          "cache-control": "no-store",
          [REQUEST_ID_HEADER]: parseStreamEventId(lastEventId ?? "")?.requestId ?? "",
        });
      }
      const { job, events } = resumed
        ? { job: resumed, events: follow(context, resumed, disconnected.signal) }
        : await begin(context, c, { caller, route, disconnected });
      setRequestId(c, job.requestId);
      onAbort(disconnected.signal, () => void cancelUnlessResumed(api, job));
      const reads = countedReads(api, caller.ownerId);
      const translate = translatorFor({ ...api, objects: reads.objects }, route, job);
      const address = (body: JsonObject): JsonObject => followCaller(c, api, body, caller.ownerId);
      const sent = encodeEvents(api, job, { events, translate, address, reads });
      return c.body(sseStream(sent, disconnected, open), 200, {
        ...SSE_HEADERS,
        [REQUEST_ID_HEADER]: job.requestId,
      });
    } catch (error) {
      open[Symbol.dispose]();
      throw error;
    }
  };
}

function authenticate(api: RunApi, c: Context, endpoint: string): Promise<Caller> {
  const token = c.req.query("fal_jwt_token");
  const authorization = c.req.header("authorization");
  const call = callOf(c, { writes: true }); // a GET runs the model too
  return token !== undefined && authorization === undefined
    ? callerOfToken(api, token, { endpoint, call })
    : api.keyRing.authenticate(authorization, call, appOf(endpoint));
}

/** Starts a job. Aborts `disconnected` when the start fails. */
async function begin(
  context: StreamContext,
  c: Context,
  { caller, route, disconnected }: { caller: Caller; route: Route; disconnected: AbortController },
) {
  const { api } = context;
  if (c.req.method === "GET") await api.limits.countCall(caller);
  const raw = await readRunInput(c, (route.model ?? route.pipeline).schemas.input, api.bodyBytesMax);
  const submission = await prepareSubmission(api, { caller, claim: undefined }, async (taken) => {
    const options = { direct: true, streamed: true };
    const read = await readSubmission(api, c, { route, caller, raw, taken, ...options });
    await acquireSlot(api, read.job);
    return read;
  });
  const { requestId } = submission.job;
  const job: StreamedJob = { caller, requestId, resumptions: 0, beganAsStream: true, sentEvents: [] };
  const events = follow(context, job, disconnected.signal);
  // Subscribes before the start, so that the first events arrive as such and need no read.
  const first = events.next();
  first.catch(() => {});
  try {
    await queueJob(api, submission).started;
  } catch (error) {
    disconnected.abort();
    releaseSlot(api, submission.job);
    throw error;
  }
  return { job, events: withFirst(first, events) };
}

function follow(context: StreamContext, { caller, requestId, afterId }: StreamedJob, signal: AbortSignal) {
  return followJob(context, { caller, requestId, ...(afterId !== undefined && { afterId }) }, signal);
}

/**
 * Finds the job of an event id, or `"ended"` when that event was its last. Rejects with `request_unknown`.
 */
async function resume(
  { api, findRequest }: StreamContext,
  caller: Caller,
  endpoint: string,
  lastEventId: string,
): Promise<StreamedJob | "ended"> {
  const parsed = parseStreamEventId(lastEventId);
  if (!parsed || !isRequestId(parsed.requestId)) throw new TemperaError("request_unknown");
  const found = await findRequest(caller, parsed.requestId);
  if (found.endpoint !== endpoint) throw new TemperaError("request_unknown");
  const { requestId } = found;
  const streamed = beganAsStream(await api.events.read(requestId).catch(() => []));
  if (streamed === false) throw new TemperaError("request_unknown");
  if (found.state !== "COMPLETED")
    await api.events.append(found, { type: "resumed", attempt: found.attempt ?? 0 }).catch(() => {});
  const backlog = await api.events.read(requestId).catch(() => []);
  const last = backlog.at(-1);
  if (last?.event.type === "done" && last.id === parsed.eventId) return "ended";
  const received = backlog.slice(0, backlog.findIndex(({ id }) => id === parsed.eventId) + 1);
  return {
    caller,
    requestId,
    afterId: parsed.eventId,
    sentEvents: received.map(({ event }) => event),
    resumptions: countResumptions(backlog),
    beganAsStream: streamed === true,
  };
}

/** The stores of what events refer to. */
type StreamedReads = Pick<RunApi, "requests"> & Pick<CountedReads, "objects">;

/** The stream of a pipeline shows its nodes, the stream of a model its steps. */
function translatorFor(api: StreamedReads, route: Route, { requestId, sentEvents }: StreamedJob): Translate {
  if (!route.pipeline) return (event) => translateModelEvent(api, event);
  const { markSent, translate } = createPipelineStream(api, requestId);
  for (const event of sentEvents) markSent(event);
  return translate;
}

async function* translateModelEvent(
  { objects }: Pick<StreamedReads, "objects">,
  event: RequestEvent,
): AsyncGenerator<JsonObject> {
  if (event.type !== "done") {
    const body = streamEvent(event);
    if (body) yield body;
    return;
  }
  const { outcome } = event;
  if (outcome.ok) yield await retrieve<JsonObject>(objects, outcome.output);
  else yield streamErrorEvent(falError(outcome.error, { userTimeout: outcome.userTimeout === true }));
}

/** Encodes a job's events as server-sent events. A large one counts until the caller has taken it. */
async function* encodeEvents(
  { log, budgets }: Pick<RunApi, "log" | "budgets">,
  { requestId, caller }: StreamedJob,
  {
    events,
    translate,
    address,
    reads,
  }: {
    events: ReturnType<typeof follow>;
    translate: Translate;
    address: (body: JsonObject) => JsonObject;
    reads: CountedReads;
  },
): AsyncGenerator<string> {
  try {
    yield SSE_OPEN;
    for await (const { id, event } of events) {
      const eventId = id === undefined ? undefined : streamEventId(requestId, id);
      for await (const body of translate(event)) {
        const encode = () => sseEvent(address(body), eventId);
        yield reads.hasRead ? await budgets.turns.resume(caller.ownerId, encode) : encode();
        reads.release();
      }
    }
  } catch (error) {
    // A broken connection would end the process of a JavaScript client (contract §4.2, S7).
    if (!isTemperaError(error)) log.error({ requestId, err: error }, "a stream failed");
    const info = isTemperaError(error) ? errorInfo(error) : errorInfo(new TemperaError("server_error"));
    yield sseEvent(streamErrorEvent(falError(info)));
  } finally {
    reads[Symbol.dispose]();
    void events.return(undefined);
  }
}

/** Cancels the job of a disconnected caller who has not returned after `RETURN_WITHIN_MS`. */
async function cancelUnlessResumed(api: RunApi, job: StreamedJob): Promise<void> {
  if (!job.beganAsStream) return;
  await new Promise((resolve) => setTimeout(resolve, RETURN_WITHIN_MS).unref());
  const backlog = await api.events.read(job.requestId).catch(() => []);
  if (backlog.at(-1)?.event.type === "done" || countResumptions(backlog) > job.resumptions) return;
  cancelJob(api, job.requestId);
}

const countResumptions = (backlog: LoggedEvent[]): number =>
  backlog.filter(({ event }) => event.type === "resumed").length;

/** Tells whether a request began as a stream; `undefined` when its first events are lost. */
function beganAsStream(backlog: LoggedEvent[]): boolean | undefined {
  for (const { event } of backlog)
    if (event.type === "queued" && event.attempt === 0) return event.streamed === true;
  return undefined;
}

/** Continues a generator whose first value was requested already. */
async function* withFirst<T>(first: Promise<IteratorResult<T>>, rest: AsyncGenerator<T>): AsyncGenerator<T> {
  try {
    const { done, value } = await first;
    if (done) return;
    yield value;
    yield* rest;
  } finally {
    void rest.return(undefined);
  }
}

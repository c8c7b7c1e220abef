import type { Context } from "hono";
import { appOf } from "../../core/models/endpoint.ts";
import { errorInfo, isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import type { LoggedEvent, RequestEvent } from "../../core/requests/events.ts";
import type { JsonObject } from "../../core/json/json.ts";
import { isRequestId } from "../../core/requests/request.ts";
import { retrieve } from "../../core/files/stored-value.ts";
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
import { createFindRequest } from "../requests/find-request.ts";
import { queueJob, readIntake } from "../requests/submission.ts";
import type { Caller } from "../auth/key-ring.ts";
import { takePlace } from "../limits/acquire-slot.ts";
import { callerOfToken } from "../auth/token-caller.ts";
import { answerAbout, REQUEST_ID_HEADER, requestIdOf } from "../http/request-id.ts";
import { callerRoute } from "../requests/caller-route.ts";
import { sseStream } from "../http/sse-stream.ts";
import { cancelJob } from "./cancel-job.ts";
import { followJob } from "./follow-job.ts";
import type { InFlight } from "./in-flight.ts";
import { createPipelineTeller } from "./pipeline-stream.ts";
import type { RunApi } from "./run.ts";
import { readRunInput } from "./run-input.ts";

/**
 * How long after its caller left a stream's job goes on, for the caller to come back with `Last-Event-ID`.
 */
const RETURN_WITHIN_MS = 5_000;

/** A job and the place in its events from which a stream tells them. */
interface Attached {
  caller: Caller;
  requestId: string;
  afterId?: string;
  /** How many callers have come back to it so far. */
  returns: number;
  /** It is known to be a stream's: it ends when its caller has left for good. */
  ours: boolean;
  /** What the caller was told of before. */
  told: RequestEvent[];
}

/** What an event shows to who streams it. */
type Teller = (event: RequestEvent) => AsyncIterable<JsonObject>;

/**
 * Runs a model and tells what happens as server-sent events (contract §4): progress and previews as they
 * come, the whole output last. A failure after the stream has opened is an error event and then a clean end.
 *
 * Every event has an id. A caller who lost the connection comes back with `Last-Event-ID` within
 * `RETURN_WITHIN_MS` (any time, when it was the gateway that went away) and is told the rest; the body is not
 * looked at then. 204 when there is no rest: browsers ask again after a clean end and stop at that answer.
 * Who does not come back has the job cancelled. Only streams are come back to: a queue request outlives
 * whoever looks at it (contract §2.5).
 */
export const createStream = (api: RunApi, inFlight: InFlight) => {
  const findRequest = createFindRequest(api);

  return async (c: Context, endpoint: string): Promise<Response> => {
    const token = c.req.query("fal_jwt_token");
    const authorization = c.req.header("authorization");
    const caller =
      token !== undefined && authorization === undefined
        ? await callerOfToken(api, token, endpoint)
        : await api.keyRing.authenticate(authorization, appOf(endpoint));
    const route = await callerRoute(api, caller, { endpoint, requestId: requestIdOf(c) });
    const place = inFlight.take(caller.ownerId);
    try {
      const gone = new AbortController();
      // An empty one is none: browsers' event sources forget their id that way.
      const lastEventId = c.req.header("last-event-id") || undefined;
      const attached =
        lastEventId === undefined
          ? undefined
          : await resume(caller, (route.model ?? route.pipeline).endpoint, lastEventId);
      if (attached === "over") {
        place[Symbol.dispose]();
        return c.body(null, 204, {
          [REQUEST_ID_HEADER]: parseStreamEventId(lastEventId ?? "")?.requestId ?? "",
        });
      }
      const { job, events } = attached
        ? { job: attached, events: follow(attached, gone.signal) }
        : await begin();
      answerAbout(c, job.requestId);
      gone.signal.addEventListener("abort", () => void cancelUnlessResumed(job), { once: true });
      const told = tell(job, events, tellerOf(route, job), place);
      return c.body(sseStream(told, gone), 200, { ...SSE_HEADERS, [REQUEST_ID_HEADER]: job.requestId });

      async function begin() {
        await api.limits.call(caller);
        const raw = await readRunInput(c, (route.model ?? route.pipeline).schemas.input, api.bodyBytesMax);
        const intake = await readIntake(api, c, { route, caller, raw, direct: true, streamed: true });
        await takePlace(api, intake);
        const job: Attached = { caller, requestId: intake.job.requestId, returns: 0, ours: true, told: [] };
        const events = follow(job, gone.signal);
        // Before the start, so that what happens at once is not read back but told.
        const first = events.next();
        first.catch(() => {});
        try {
          await queueJob(api, intake).started;
        } catch (error) {
          gone.abort();
          if (intake.job.place) api.places.leave(intake.job).catch(() => {});
          throw error;
        }
        return { job, events: withFirst(first, events) };
      }
    } catch (error) {
      place[Symbol.dispose]();
      throw error;
    }
  };

  function follow({ caller, requestId, afterId }: Attached, signal: AbortSignal) {
    return followJob(
      { api, findRequest },
      { caller, requestId, ...(afterId !== undefined && { afterId }) },
      signal,
    );
  }

  /** Finds the job that an event id names. `over`: that was its last event. Throws `request_unknown`. */
  async function resume(caller: Caller, endpoint: string, lastEventId: string): Promise<Attached | "over"> {
    const named = parseStreamEventId(lastEventId);
    if (!named || !isRequestId(named.requestId)) throw new TemperaError("request_unknown");
    const found = await findRequest(caller, named.requestId);
    if (found.endpoint !== endpoint) throw new TemperaError("request_unknown");
    const { requestId } = found;
    const before = await api.events.read(requestId).catch(() => []);
    const ours = streamed(before);
    if (ours === false) throw new TemperaError("request_unknown");
    if (found.state !== "COMPLETED")
      await api.events.append(found, { type: "resumed", attempt: found.attempt ?? 0 }).catch(() => {});
    const backlog = await api.events.read(requestId).catch(() => []);
    if (backlog.at(-1)?.event.type === "done" && backlog.at(-1)?.id === named.eventId) return "over";
    const told = backlog
      .slice(0, backlog.findIndex(({ id }) => id === named.eventId) + 1)
      .map(({ event }) => event);
    return {
      caller,
      requestId,
      afterId: named.eventId,
      returns: countReturns(backlog),
      ours: ours === true,
      told,
    };
  }

  /** A pipeline tells of its nodes, a model of its steps. */
  function tellerOf(route: Route, { requestId, told }: Attached): Teller {
    if (!route.pipeline) return tellModel;
    const teller = createPipelineTeller(api, requestId);
    for (const event of told) teller.known(event);
    return teller.tell;
  }

  async function* tellModel(event: RequestEvent): AsyncGenerator<JsonObject> {
    if (event.type !== "done") {
      const body = streamEvent(event);
      if (body) yield body;
    } else if (event.outcome.ok) yield await retrieve<JsonObject>(api.objects, event.outcome.output);
    else
      yield streamErrorEvent(
        falError(event.outcome.error, { userTimeout: event.outcome.userTimeout === true }),
      );
  }

  async function* tell(
    job: Attached,
    events: ReturnType<typeof follow>,
    teller: Teller,
    place: Disposable,
  ): AsyncGenerator<string> {
    try {
      yield SSE_OPEN;
      for await (const { id, event } of events) {
        const eventId = id === undefined ? undefined : streamEventId(job.requestId, id);
        for await (const body of teller(event)) yield sseEvent(body, eventId);
      }
    } catch (error) {
      // A broken connection would end the process of a JavaScript client (contract §4.2, S7).
      if (!isTemperaError(error)) api.log.error({ requestId: job.requestId, err: error }, "a stream broke");
      const info = isTemperaError(error) ? errorInfo(error) : errorInfo(new TemperaError("server_error"));
      yield sseEvent(streamErrorEvent(falError(info)));
    } finally {
      place[Symbol.dispose]();
      void events.return(undefined);
    }
  }

  async function cancelUnlessResumed({ requestId, returns, ours }: Attached): Promise<void> {
    if (!ours) return;
    await new Promise((resolve) => setTimeout(resolve, RETURN_WITHIN_MS).unref());
    const backlog = await api.events.read(requestId).catch(() => []);
    if (backlog.at(-1)?.event.type === "done" || countReturns(backlog) > returns) return;
    cancelJob(api, requestId);
  }
};

const countReturns = (backlog: { event: { type: string } }[]): number =>
  backlog.filter(({ event }) => event.type === "resumed").length;

/** Whether a request began as a stream; `undefined` when its first events are lost. */
function streamed(backlog: LoggedEvent[]): boolean | undefined {
  for (const { event } of backlog)
    if (event.type === "queued" && event.attempt === 0) return event.streamed === true;
  return undefined;
}

/** A generator whose first value was asked for already. */
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

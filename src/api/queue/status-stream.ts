import type { Context } from "hono";
import { sleep } from "../../core/concurrency/sleep.ts";
import { isTemperaError } from "../../core/errors/tempera-error.ts";
import { writeJson } from "../../core/json/exact-json.ts";
import { afterEvent, type NodeState, nodesOfEvents } from "../../core/pipelines/node-states.ts";
import { readLogLines } from "../../core/requests/event-log.ts";
import { advance, asLogLine, isAfter, type LoggedEvent } from "../../core/requests/events.ts";
import {
  type QueuePath,
  SSE_HEADERS,
  sseEvent,
  statusBody,
  wantsLogs,
  wantsNodes,
  wantsQueueLogs,
} from "../../fal/index.ts";
import { callOf } from "../auth/call.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { addressOf } from "../http/address.ts";
import { REQUEST_ID_HEADER, setRequestId } from "../http/request-id.ts";
import { sseStream } from "../http/sse-stream.ts";
import { createFindRequest, type FindRequest, type FoundRequest } from "../requests/find-request.ts";
import { createFindNodes, isPipeline } from "./pipeline-status.ts";
import { statusView } from "./status.ts";

/** Milliseconds between two looks at a waiting request's position, and at a request without an event log. */
const POLL_MS = 1_000;

/** Milliseconds between two looks at a running request in the stores behind the event log. */
const RECHECK_MS = 10_000;

type StatusStreamApi = Pick<
  ApiDependencies,
  "clock" | "keyRing" | "budgets" | "events" | "requests" | "pipelineRuns" | "jobs" | "publicUrl" | "log"
>;

/**
 * Streams a request's status as server-sent events until it has ended (contract §2.3): one event at once and
 * one for each change, each with only the log lines that are new. Events carry ids, and `Last-Event-ID`
 * resumes after one. Answers 404 before the stream opens, and 429 when the caller has too many calls open.
 */
export function createStatusStream(api: StatusStreamApi) {
  const findRequest = createFindRequest(api);
  const findNodes = createFindNodes(api);
  return async (c: Context, { endpoint, requestId }: QueuePath): Promise<Response> => {
    const caller = await api.keyRing.authenticate(c.req.header("authorization"), callOf(c), endpoint);
    const found = await findRequest(caller, requestId ?? "");
    setRequestId(c, found.requestId);
    const closed = new AbortController();
    const stream = new StatusStream(api, {
      caller,
      found,
      findRequest,
      findNodes,
      address: addressOf(c, "queue", api.publicUrl),
      withLogs: wantsLogs(c.req.query("logs")),
      withQueueLogs: wantsQueueLogs(c.req.query("queue_logs")),
      withNodes: wantsNodes(c.req.query("nodes")) && isPipeline(found),
      lastEventId: c.req.header("last-event-id"),
      signal: closed.signal,
    });
    const body = sseStream(stream.events(), closed, api.budgets.openCalls.acquire(caller.ownerId));
    return c.body(body, 200, { ...SSE_HEADERS, [REQUEST_ID_HEADER]: found.requestId });
  };
}

interface StatusStreamOptions {
  caller: Caller;
  /** The request when the stream was opened. */
  found: FoundRequest;
  findRequest: FindRequest;
  findNodes: ReturnType<typeof createFindNodes>;
  /** Begins the addresses in the events. */
  address: string;
  withLogs: boolean;
  /** Sends log lines of the queue at once. */
  withQueueLogs: boolean;
  withNodes: boolean;
  /** The last event that the caller has got by a previous stream. */
  lastEventId: string | undefined;
  /** Aborts when the caller closes the stream. */
  signal: AbortSignal;
}

/** Comes in between the events of the log when it is time to look at the request again. */
const REMINDER = "reminder";

/**
 * The events of one status stream. It follows the event log, and changes over to polling the other stores
 * when the log is unavailable or has lost the request; it never goes back.
 */
class StatusStream {
  readonly #api: StatusStreamApi;
  readonly #options: StatusStreamOptions;
  /** The id of the last event that was sent, so that no log line is sent twice. */
  #lastSentId: string | undefined;
  /** Log lines that came while the request waited. */
  #heldLines: readonly LoggedEvent[] = [];
  #nodes: readonly NodeState[] | undefined;

  constructor(api: StatusStreamApi, options: StatusStreamOptions) {
    this.#api = api;
    this.#options = options;
  }

  async *events(): AsyncGenerator<string> {
    const { found, findNodes, withNodes, signal } = this.#options;
    // Postgres or Temporal have answered, so the request has ended: there is nothing to follow.
    if (withNodes && found.outcome) this.#nodes = await findNodes(found).catch(() => undefined);
    if (found.outcome) return yield this.#render(found, found.logs ?? []);
    try {
      yield* this.#follow();
    } catch (error) {
      if (signal.aborted) return;
      if (!isTemperaError(error))
        this.#api.log.error(
          { requestId: found.requestId, err: error },
          "the status stream broke; polling instead",
        );
      yield* this.#poll();
    }
  }

  /** Follows the event log; ends after COMPLETED. Throws when the log becomes unavailable. */
  async *#follow(): AsyncGenerator<string> {
    const { caller, found, findRequest, lastEventId, withNodes } = this.#options;
    const backlog = await this.#api.events.read(found.requestId);
    const lastId = backlog.at(-1)?.id;
    let current = afterBacklog(found, backlog);
    if (withNodes) this.#nodes = nodesOfEvents(backlog);
    const newLines = eventsAfter(backlog, lastEventId).flatMap((event) => asLogLine(event) ?? []);
    yield this.#render(current, newLines, lastId);
    if (current.state === "COMPLETED") return;
    let endedUnlogged = false;
    for await (const next of this.#withReminders(lastId, () => current.state)) {
      if (next !== REMINDER) {
        if (!this.#isShown(next)) continue;
        current = await this.#advance(current, next);
        const line = this.#lineOf(next);
        yield this.#render(current, line ? [line] : [], next.id);
        if (current.state === "COMPLETED") return;
        continue;
      }
      // This look also notices an end that the log does not know, and writes it there: `done` follows then.
      const { state, position } = await findRequest(caller, found.requestId);
      // The log had its time to announce the end, so it has lost the request.
      if (endedUnlogged && state === "COMPLETED") return yield* this.#poll();
      endedUnlogged = state === "COMPLETED";
      if (endedUnlogged || position === current.position) continue;
      current = { ...current, position };
      yield this.#render(current, []);
    }
  }

  /**
   * Merges the log's new events with reminders to look again: every second while the request waits, less
   * often while it runs.
   */
  async *#withReminders(
    afterId: string | undefined,
    state: () => FoundRequest["state"],
  ): AsyncGenerator<LoggedEvent | typeof REMINDER> {
    const { found, signal } = this.#options;
    const events = this.#api.events.follow(found.requestId, afterId, signal)[Symbol.asyncIterator]();
    let next = events.next();
    try {
      while (true) {
        let timer: NodeJS.Timeout | undefined;
        const reminder = new Promise<typeof REMINDER>((resolve) => {
          timer = setTimeout(() => resolve(REMINDER), state() === "IN_QUEUE" ? POLL_MS : RECHECK_MS);
        });
        const first = await Promise.race([next, reminder]).finally(() => clearTimeout(timer));
        if (first === REMINDER) {
          yield REMINDER;
          continue;
        }
        if (first.done) return;
        yield first.value;
        next = events.next();
      }
    } finally {
      next.catch(() => {});
      void events.return?.();
    }
  }

  /** Polls the stores behind the event log every second, until the request has ended there. */
  async *#poll(): AsyncGenerator<string> {
    const { caller, found, findRequest, findNodes, withNodes, signal } = this.#options;
    let last = "";
    while (!signal.aborted) {
      const current = await findRequest(caller, found.requestId).catch(() => undefined);
      const key = writeJson([current?.state, current?.position, current?.progress]);
      if (current && key !== last) {
        last = key;
        if (withNodes) this.#nodes = await findNodes(current).catch(() => this.#nodes);
        const lines =
          current.state === "COMPLETED"
            ? (current.logs ?? (await readLogLines(this.#api.events, current.requestId)))
            : [];
        yield this.#render(
          current,
          lines.filter(({ id }) => isAfter(id, this.#lastSentId)),
        );
        if (current.state === "COMPLETED") return;
      }
      await sleep(POLL_MS, signal).catch(() => {}); // the loop ends at an abort
    }
  }

  /** Applies an event to the nodes, and tells whether the caller gets a status for it. */
  #isShown(logged: LoggedEvent): boolean {
    const { event } = logged;
    if (this.#nodes) this.#nodes = afterEvent(this.#nodes, event);
    if (event.type === "preview" || event.type === "resumed") return false;
    if (event.type === "log") return this.#options.withLogs;
    if (event.type === "node")
      return Boolean(this.#lineOf(logged) || this.#nodes) || event.change === "completed";
    return true;
  }

  #lineOf(event: LoggedEvent): LoggedEvent | undefined {
    return this.#options.withLogs ? asLogLine(event) : undefined;
  }

  async #advance(current: FoundRequest, { event, atMs }: LoggedEvent): Promise<FoundRequest> {
    const next = { ...current, ...advance(undefined, event, atMs) };
    if (event.type !== "queued") return next;
    const position = await this.#api.events.position({ ...next, attempt: event.attempt, queuedAtMs: atMs });
    return { ...next, position };
  }

  /**
   * Renders a status with the log lines that are new. Lines of the queue are held back until the request runs
   * or has ended, unless they are asked for: fal's clients have no logs in the status of a waiting request.
   * A status that holds lines back has no id, so that a stream that resumes after it gets them.
   */
  #render(request: FoundRequest, newLines: LoggedEvent[], id?: string): string {
    this.#lastSentId = id ?? this.#lastSentId;
    const { withLogs, withQueueLogs, address } = this.#options;
    const lines = withLogs ? [...this.#heldLines, ...newLines] : undefined;
    const holds = request.state === "IN_QUEUE" && !withQueueLogs;
    this.#heldLines = (holds && lines) || [];
    const view = statusView(request, holds ? lines && [] : lines, this.#nodes);
    return sseEvent(statusBody(address, view), this.#heldLines.length > 0 ? undefined : id);
  }
}

/** Applies the events so far to a request that was found before they were read. */
function afterBacklog(found: FoundRequest, backlog: LoggedEvent[]): FoundRequest {
  // The log may have been restored from an older copy between the two reads.
  if (found.state === "COMPLETED") return found;
  let current = found;
  for (const { atMs, event } of backlog) current = { ...current, ...advance(undefined, event, atMs) };
  return current.state === "IN_QUEUE" ? { ...current, position: found.position } : current;
}

/** Returns the events after `lastEventId`, or all when it is not among them. */
function eventsAfter(backlog: LoggedEvent[], lastEventId: string | undefined): LoggedEvent[] {
  if (!lastEventId) return backlog;
  return backlog.slice(backlog.findIndex(({ id }) => id === lastEventId) + 1);
}

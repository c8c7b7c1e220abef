import type { Context } from "hono";
import { sleep } from "../../core/concurrency/sleep.ts";
import { isTemperaError } from "../../core/errors/tempera-error.ts";
import { afterEvent, type NodeState, nodesOfEvents } from "../../core/pipelines/node-states.ts";
import { isAfter, advance, asLogLine, type LoggedEvent } from "../../core/requests/events.ts";
import { readLogLines } from "../../core/requests/event-log.ts";
import { type QueuePath, SSE_HEADERS, sseEvent, statusBody, wantsLogs, wantsNodes } from "../../fal/index.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { addressOf } from "../http/address.ts";
import { REQUEST_ID_HEADER, setRequestId } from "../http/request-id.ts";
import { sseStream } from "../http/sse-stream.ts";
import { createFindRequest, type FoundRequest } from "../requests/find-request.ts";
import { createFindNodes, isPipeline } from "./pipeline-status.ts";
import { statusView } from "./status.ts";

/** How often a waiting request's position, or a request whose event log is away, is looked at again. */
const POLL_MS = 1_000;

/** How often a running request is looked at behind the event log's back. */
const RECHECK_MS = 10_000;

/**
 * Streams a request's status as server-sent events until it has ended (contract §2.3): one at once, one for
 * each change, each with only the log lines that are new. Events carry ids; `Last-Event-ID` goes on after
 * one. 404 before the stream opens.
 */
export const createStatusStream = (
  api: Pick<
    ApiDependencies,
    "clock" | "keyRing" | "events" | "requests" | "pipelineRuns" | "jobs" | "publicUrl" | "log"
  >,
) => {
  const findRequest = createFindRequest(api);
  const findNodes = createFindNodes(api);
  return async (c: Context, { endpoint, requestId }: QueuePath): Promise<Response> => {
    const caller = await api.keyRing.authenticate(c.req.header("authorization"), endpoint);
    const found = await findRequest(caller, requestId ?? "");
    setRequestId(c, found.requestId);
    const address = addressOf(c, "queue", api.publicUrl);
    const withLogs = wantsLogs(c.req.query("logs"));
    const withNodes = wantsNodes(c.req.query("nodes")) && isPipeline(found);
    const lastEventId = c.req.header("last-event-id");
    const gone = new AbortController();

    /** The last event that was told, so that no log line is told twice. */
    let told: string | undefined;
    let nodes: readonly NodeState[] | undefined;
    const say = (request: FoundRequest, news: LoggedEvent[], id?: string): string => {
      told = id ?? told;
      return sseEvent(statusBody(address, statusView(request, withLogs ? news : undefined, nodes)), id);
    };

    /** Follows the event log; ends after COMPLETED. Throws when the log goes away. */
    async function* follow(): AsyncGenerator<string> {
      let current = found;
      const backlog = await api.events.read(found.requestId);
      const seen = backlog.at(-1)?.id;
      const resumed =
        lastEventId && backlog.some(({ id }) => id === lastEventId)
          ? backlog.slice(backlog.findIndex(({ id }) => id === lastEventId) + 1)
          : backlog;
      for (const { atMs, event } of backlog) current = { ...current, ...advance(undefined, event, atMs) };
      if (current.state === "IN_QUEUE") current = { ...current, position: found.position };
      if (withNodes) nodes = nodesOfEvents(backlog);
      yield say(
        current,
        resumed.flatMap((event) => asLogLine(event) ?? []),
        seen,
      );
      if (current.state === "COMPLETED") return;
      let unheard = false;
      for await (const { id, atMs, event } of mergePosition(seen, () => current)) {
        if (event === "position") {
          // Also finds out when the request has ended without the log's knowledge: `done` follows by itself
          // then.
          const { state, position } = await findRequest(caller, found.requestId);
          // The log has had its time to tell of the end: it has forgotten the request.
          if (unheard && state === "COMPLETED") return yield* poll();
          unheard = state === "COMPLETED";
          if (unheard || position === current.position) continue;
          current = { ...current, position };
          yield say(current, []);
          continue;
        }
        const line = withLogs ? asLogLine({ id, atMs, event }) : undefined;
        if (nodes) nodes = afterEvent(nodes, event);
        if (
          (event.type === "log" && !withLogs) ||
          (event.type === "node" && !line && !nodes && event.change !== "completed") ||
          event.type === "preview" ||
          event.type === "resumed"
        )
          continue;
        current = { ...current, ...advance(undefined, event, atMs) };
        if (event.type === "queued")
          current = {
            ...current,
            position: await api.events.position({ ...current, attempt: event.attempt, queuedAtMs: atMs }),
          };
        yield say(current, line ? [line] : [], id);
        if (current.state === "COMPLETED") return;
      }
    }

    /**
     * The log's new events, and a reminder to look again: once a second while the request waits, now and then
     * while it runs.
     */
    async function* mergePosition(
      afterId: string | undefined,
      current: () => FoundRequest,
    ): AsyncGenerator<LoggedEvent | { id: string; atMs: number; event: "position" }> {
      const events = api.events.follow(found.requestId, afterId, gone.signal)[Symbol.asyncIterator]();
      let next = events.next();
      try {
        while (true) {
          let timer: NodeJS.Timeout | undefined;
          const reminder = new Promise<"position">((resolve) => {
            timer = setTimeout(
              () => resolve("position"),
              current().state === "IN_QUEUE" ? POLL_MS : RECHECK_MS,
            );
          });
          const first = await Promise.race([next, reminder]).finally(() => clearTimeout(timer));
          if (first === "position") {
            yield { id: "", atMs: Date.now(), event: "position" };
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

    /** Without the event log: looks again every second, so that nobody waits for ever. */
    async function* poll(): AsyncGenerator<string> {
      let last = "";
      while (!gone.signal.aborted) {
        const current = await findRequest(caller, found.requestId).catch(() => undefined);
        const key = JSON.stringify([current?.state, current?.position, current?.progress]);
        if (current && key !== last) {
          last = key;
          if (withNodes) nodes = await findNodes(current).catch(() => nodes);
          const logs =
            current.state === "COMPLETED"
              ? (current.logs ?? (await readLogLines(api.events, current.requestId)))
              : [];
          yield say(
            current,
            logs.filter(({ id }) => isAfter(id, told)),
          );
          if (current.state === "COMPLETED") return;
        }
        await sleep(POLL_MS, gone.signal).catch(() => {});
      }
    }

    async function* events(): AsyncGenerator<string> {
      // Already over, and told by Postgres or Temporal: there is nothing to follow.
      if (withNodes && found.outcome) nodes = await findNodes(found).catch(() => undefined);
      if (found.outcome) return yield say(found, found.logs ?? []);
      try {
        yield* follow();
        if (gone.signal.aborted) return;
      } catch (error) {
        if (gone.signal.aborted) return;
        if (!isTemperaError(error))
          api.log.error(
            { requestId: found.requestId, err: error },
            "the status stream broke; polling instead",
          );
        yield* poll();
      }
    }

    return c.body(sseStream(events(), gone), 200, { ...SSE_HEADERS, [REQUEST_ID_HEADER]: found.requestId });
  };
};

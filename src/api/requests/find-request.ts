import { type ErrorInfo, isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import type { LoggedEvent, Progress, Snapshot } from "../../core/requests/events.ts";
import type { NodePlace } from "../../core/pipelines/pipeline.ts";
import {
  identityOf,
  isRequestId,
  type Metrics,
  type Outcome,
  type RequestIdentity,
  type RequestState,
} from "../../core/requests/request.ts";
import { hasPassed } from "../../core/operations/retention.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { Caller } from "../auth/key-ring.ts";

/** What is known of a request, from whichever store knew it first. */
export interface FoundRequest extends RequestIdentity {
  state: RequestState;
  position: number;
  /** Of an unfinished request. */
  attempt?: number;
  progress?: Progress;
  metrics: Metrics;
  error?: ErrorInfo;
  /**
   * Already at hand when Postgres or Temporal answered; the event log is asked for it only by the result
   * verb.
   */
  outcome?: Outcome;
  /** Present when the request's log lines came along; else the event log has them. */
  logs?: LoggedEvent[];
}

/**
 * How long a request may be unfinished in the event log before the other stores are asked, and how often they
 * are.
 */
const RECHECK_MS = 10_000;
const RECHECKED_MAX = 10_000;

/**
 * Finds a caller's request (design §3): the event log's snapshot in one read, else Postgres, else Temporal.
 *
 * Throws `request_unknown` for a malformed id, an unknown request and another owner's; `temporal_unavailable`
 * or `store_unavailable` when what would know cannot be asked.
 */
export const createFindRequest = ({
  events,
  requests,
  jobs,
  times,
  clock,
}: Pick<ApiDependencies, "events" | "requests" | "jobs" | "times" | "clock">) => {
  /** When each unfinished request was last looked up behind the event log's back. */
  const checkedAtMs = new Map<string, number>();

  /**
   * Whether a request that the event log holds for unfinished has ended all the same: the log was away at its
   * end, or an operator ended it. Looked at once in `RECHECK_MS`; what is found is made known to the log.
   */
  const endedUnheard = async (snapshot: Snapshot): Promise<boolean> => {
    if (snapshot.state === "COMPLETED") return false;
    const now = clock.nowMs();
    const last =
      checkedAtMs.get(snapshot.requestId) ?? Math.max(snapshot.queuedAtMs, snapshot.startedAtMs ?? 0);
    if (now - last < RECHECK_MS) return false;
    if (checkedAtMs.size >= RECHECKED_MAX) checkedAtMs.clear();
    checkedAtMs.set(snapshot.requestId, now);
    const { requestId, node } = snapshot;
    const outcome =
      (await requests.find(requestId).catch(away))?.outcome ??
      (await (node ? orphaned(requestId, node) : jobs.outcome(requestId).catch(away)));
    if (!outcome) return false;
    await events.complete(snapshot, outcome).catch(away);
    return true;
  };

  /** The end of a node whose pipeline runs no more and has recorded none: an operator ended it. */
  const orphaned = async (requestId: string, node: NodePlace): Promise<Outcome | undefined> => {
    try {
      if (await jobs.describeNode(requestId, node)) return undefined;
      // It may have ended, and its pipeline with it, between the two looks.
      const recorded = (await requests.find(requestId))?.outcome;
      const error = {
        code: "internal_error" as const,
        message: "Its pipeline ended without an outcome of this node.",
      };
      return recorded ?? { ok: false, error, metrics: {} };
    } catch (error) {
      return away(error);
    }
  };

  return async function findRequest(caller: Caller, requestId: string): Promise<FoundRequest> {
    if (!isRequestId(requestId)) throw new TemperaError("request_unknown");
    const found = await find(requestId.toLowerCase());
    if (!found || found.ownerId !== caller.ownerId) throw new TemperaError("request_unknown");
    return found;

    async function find(id: string): Promise<FoundRequest | undefined> {
      const snapshot = await events.snapshot(id).catch(away);
      if (snapshot && !(await endedUnheard(snapshot))) {
        const position = snapshot.state === "IN_QUEUE" ? await events.position(snapshot).catch(() => 0) : 0;
        // The event log keeps lines for a day, whatever the owner's time for them is.
        const silent = hasPassed(
          times?.of(snapshot.ownerId).logMs ?? null,
          snapshot.endedAtMs ?? clock.nowMs(),
          clock.nowMs(),
        );
        return { ...snapshot, position, metrics: snapshot.metrics ?? {}, ...(silent && { logs: [] }) };
      }
      const record = await requests.find(id).catch((error) => {
        // Temporal may still know it; when it does not either, this outage is the answer.
        if (!isTemperaError(error)) throw error;
        return error;
      });
      if (record && !(record instanceof Error) && record.outcome)
        return finished(record, record.outcome, record.logs);
      if (snapshot?.node) {
        // Its end was made known to the log just now, and nobody else has it.
        const after = await events.snapshot(id).catch(away);
        if (after?.state === "COMPLETED") return { ...after, position: 0, metrics: after.metrics ?? {} };
      }
      if (record && !(record instanceof Error) && record.node) {
        const node = await jobs.describeNode(id, record.node);
        if (node) return { ...identityOf(record), ...node, position: 0, metrics: {} };
      }
      const job = await jobs.describe(id);
      if (job && job.state !== "COMPLETED") return { ...job, position: 0, metrics: {} };
      if (job) {
        const outcome = await jobs.outcome(id);
        if (outcome) return finished(job, outcome, []);
      }
      if (record instanceof Error) throw record;
      if (!record) return undefined;
      // Recorded, unfinished, and Temporal has forgotten it: its state was lost, and saying IN_QUEUE for ever
      // would be a lie.
      return finished(
        record,
        {
          ok: false,
          error: { code: "internal_error", message: "The job is no longer known to Temporal." },
          metrics: {},
        },
        [],
      );
    }
  };
};

const away = (error: unknown): undefined => {
  if (!isTemperaError(error)) throw error;
  return undefined;
};

const finished = (identity: RequestIdentity, outcome: Outcome, logs: LoggedEvent[]): FoundRequest => ({
  ...identityOf(identity),
  state: "COMPLETED",
  position: 0,
  metrics: outcome.metrics,
  outcome,
  logs,
  ...(!outcome.ok && { error: outcome.error }),
});

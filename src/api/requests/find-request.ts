import { LRUCache } from "lru-cache";
import { type ErrorInfo, isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import { hasPassed } from "../../core/operations/retention.ts";
import type { NodeRef } from "../../core/pipelines/pipeline.ts";
import type { LoggedEvent, Progress, Snapshot } from "../../core/requests/events.ts";
import {
  identityOf,
  isRequestId,
  type Metrics,
  type Outcome,
  type RequestIdentity,
  type RequestState,
} from "../../core/requests/request.ts";
import type { RequestRecord } from "../../core/requests/request-store.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { ApiDependencies } from "../dependencies.ts";

/** A request, as the first store that knew it describes it. */
export interface FoundRequest extends RequestIdentity {
  state: RequestState;
  position: number;
  /** Of an unfinished request. */
  attempt?: number;
  progress?: Progress;
  metrics: Metrics;
  error?: ErrorInfo;
  /** Present when Postgres or Temporal answered. When the event log did, `result.ts` reads it there. */
  outcome?: Outcome;
  /** Present when the request's log lines came along; else the event log has them. */
  logs?: LoggedEvent[];
}

/**
 * Milliseconds for which an unfinished request of the event log is believed before the other stores are
 * asked, and between two times that they are.
 */
const RECHECK_MS = 10_000;
const RECHECKED_MAX = 10_000;

type FindApi = Pick<ApiDependencies, "events" | "requests" | "jobs" | "times" | "clock">;

/** Finds a caller's request by its id. */
export type FindRequest = (caller: Caller, requestId: string) => Promise<FoundRequest>;

/**
 * Makes the function that finds a caller's request (design §3): by one read of the event log, else in
 * Postgres, else in Temporal.
 *
 * Rejects with `request_unknown` for a malformed id, an unknown request and another owner's, and with
 * `temporal_unavailable` or `store_unavailable` when the store that would know cannot be reached.
 */
export function createFindRequest(api: FindApi): FindRequest {
  const finder = new RequestFinder(api);
  return async function findRequest(caller, requestId) {
    if (!isRequestId(requestId)) throw new TemperaError("request_unknown");
    const found = await finder.find(requestId.toLowerCase());
    if (!found || found.ownerId !== caller.ownerId) throw new TemperaError("request_unknown");
    return found;
  };
}

/** Looks a request up in one store after the other. */
class RequestFinder {
  readonly #api: FindApi;
  /** When each unfinished request was last looked up in the stores behind the event log. */
  readonly #checkedAtMs = new LRUCache<string, number>({ max: RECHECKED_MAX });

  constructor(api: FindApi) {
    this.#api = api;
  }

  async find(id: string): Promise<FoundRequest | undefined> {
    const snapshot = await this.#api.events.snapshot(id).catch(ignoreUnavailable);
    if (snapshot && !(await this.#hasEndedUnlogged(snapshot))) return this.#ofSnapshot(snapshot);
    const record = await this.#readRecord(id);
    if (record && !(record instanceof Error) && record.outcome)
      return finished(record, record.outcome, record.logs);
    if (snapshot?.node) {
      // Its end was written to the event log just now, and no other store has it.
      const ended = await this.#api.events.snapshot(id).catch(ignoreUnavailable);
      if (ended?.state === "COMPLETED") return { ...ended, position: 0, metrics: ended.metrics ?? {} };
    }
    return this.#findJob(id, record);
  }

  async #ofSnapshot(snapshot: Snapshot): Promise<FoundRequest> {
    const { events, times, clock } = this.#api;
    const position = snapshot.state === "IN_QUEUE" ? await events.position(snapshot).catch(() => 0) : 0;
    // The event log keeps lines for a day, whatever the owner's retention time for them is.
    const logsHavePassed = hasPassed(
      times?.of(snapshot.ownerId).logMs ?? null,
      snapshot.endedAtMs ?? clock.nowMs(),
      clock.nowMs(),
    );
    return { ...snapshot, position, metrics: snapshot.metrics ?? {}, ...(logsHavePassed && { logs: [] }) };
  }

  /**
   * Resolves with the error of an outage: Temporal may know the request, and if it does not, that is the
   * answer.
   */
  async #readRecord(id: string): Promise<RequestRecord | Error | undefined> {
    return this.#api.requests.find(id).catch((error) => {
      if (!isTemperaError(error)) throw error;
      return error;
    });
  }

  /** Finds the request in Temporal, which knows those that run and those that ended lately. */
  async #findJob(id: string, record: RequestRecord | Error | undefined): Promise<FoundRequest | undefined> {
    const { jobs } = this.#api;
    if (record && !(record instanceof Error) && record.node) {
      const node = await jobs.describeNode(id, record.node);
      if (node) return { ...identityOf(record), ...node, position: 0, metrics: {} };
    }
    const job = await jobs.describe(id);
    if (job && job.state !== "COMPLETED") return { ...job, position: 0, metrics: {} };
    const outcome = job && (await jobs.outcome(id));
    if (outcome) return finished(job, outcome, []);
    if (record instanceof Error) throw record;
    // Recorded as unfinished, and Temporal does not know it: its state was lost. IN_QUEUE for ever would be
    // wrong.
    return record && finished(record, failure("The job is no longer known to Temporal."), []);
  }

  /**
   * Finds out whether a request that is unfinished in the event log has ended all the same: the log was
   * unavailable at its end, or an operator ended it. Asks at most once in `RECHECK_MS`, and writes an end
   * that it finds to the log.
   */
  async #hasEndedUnlogged(snapshot: Snapshot): Promise<boolean> {
    if (snapshot.state === "COMPLETED") return false;
    const { events, requests, jobs, clock } = this.#api;
    const { requestId, node, queuedAtMs, startedAtMs = 0 } = snapshot;
    const nowMs = clock.nowMs();
    const lastMs = this.#checkedAtMs.get(requestId) ?? Math.max(queuedAtMs, startedAtMs);
    if (nowMs - lastMs < RECHECK_MS) return false;
    this.#checkedAtMs.set(requestId, nowMs);
    const outcome =
      (await requests.find(requestId).catch(ignoreUnavailable))?.outcome ??
      (await (node
        ? this.#outcomeOfOrphan(requestId, node)
        : jobs.outcome(requestId).catch(ignoreUnavailable)));
    if (!outcome) return false;
    await events.complete(snapshot, outcome).catch(ignoreUnavailable);
    return true;
  }

  /** The outcome of a node whose pipeline no longer runs and has recorded none: an operator ended it. */
  async #outcomeOfOrphan(requestId: string, node: NodeRef): Promise<Outcome | undefined> {
    const { jobs, requests } = this.#api;
    try {
      if (await jobs.describeNode(requestId, node)) return undefined;
      // The node may have ended, and its pipeline with it, between the two reads.
      const recorded = (await requests.find(requestId))?.outcome;
      return recorded ?? failure("Its pipeline ended without an outcome of this node.");
    } catch (error) {
      return ignoreUnavailable(error);
    }
  }
}

/** Turns an outage of a store into `undefined`, and rethrows any other error. */
function ignoreUnavailable(error: unknown): undefined {
  if (!isTemperaError(error)) throw error;
  return undefined;
}

function failure(message: string): Outcome {
  return { ok: false, error: { code: "internal_error", message }, metrics: {} };
}

function finished(identity: RequestIdentity, outcome: Outcome, logs: LoggedEvent[]): FoundRequest {
  return {
    ...identityOf(identity),
    state: "COMPLETED",
    position: 0,
    metrics: outcome.metrics,
    outcome,
    logs,
    ...(!outcome.ok && { error: outcome.error }),
  };
}

import { LRUCache } from "lru-cache";
import { type ErrorInfo, isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import { hasPassed } from "../../core/operations/retention.ts";
import { assertEndpointPermitted } from "../../core/owners/key-permissions.ts";
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
  /** Present when the event log may lack events of this unfinished request; its state was confirmed. */
  doubt?: string;
}

/**
 * Milliseconds for which an unfinished request of the event log is believed before the other stores are
 * asked, and between two times that they are.
 */
const RECHECK_MS = 10_000;
const CHECKED_MAX = 10_000;

type FindApi = Pick<ApiDependencies, "events" | "requests" | "jobs" | "times" | "unserved" | "clock">;

/** Finds a caller's request by its id. */
export type FindRequest = (caller: Caller, requestId: string) => Promise<FoundRequest>;

/**
 * Makes the function that finds a caller's request (design §3): by one read of the event log, else in
 * Postgres, else in Temporal.
 *
 * Once a caller was told the end, no later answer says anything else (decision 27). An unfinished request is
 * therefore answered from the event log only when that has seen all of it, or when the other stores have
 * confirmed it; without the log, only when PostgreSQL has no outcome.
 *
 * Rejects with `request_unknown` for a malformed id, an unknown request and another owner's, with
 * `key_endpoint_forbidden` when the caller's key may not call its endpoint, and with `temporal_unavailable`
 * or `store_unavailable` when the store that would know cannot be reached.
 */
export function createFindRequest(api: FindApi): FindRequest {
  const finder = new RequestFinder(api);
  return async function findRequest(caller, requestId) {
    if (!isRequestId(requestId)) throw new TemperaError("request_unknown");
    const found = await finder.find(requestId.toLowerCase());
    if (!found || found.ownerId !== caller.ownerId) throw new TemperaError("request_unknown");
    assertEndpointPermitted(caller, found.endpoint);
    api.unserved?.tell(found);
    return found;
  };
}

/** The last look at an unfinished request in the stores behind the event log. */
interface Check {
  atMs: number;
  /** The doubt that it settled. */
  doubt?: string;
}

/** The row of a request, or the error of an outage. */
type ReadRecord = RequestRecord | TemperaError | undefined;

/** Looks a request up in one store after the other. */
class RequestFinder {
  readonly #api: FindApi;
  readonly #checks = new LRUCache<string, Check>({ max: CHECKED_MAX });

  constructor(api: FindApi) {
    this.#api = api;
  }

  async find(id: string): Promise<FoundRequest | undefined> {
    const snapshot = await this.#api.events.snapshot(id).catch(ignoreUnavailable);
    if (snapshot && (snapshot.state === "COMPLETED" || this.#isChecked(snapshot)))
      return this.#ofSnapshot(snapshot);
    const record = await this.#readRecord(id);
    if (record && !(record instanceof TemperaError) && record.outcome) {
      if (snapshot) await this.#api.events.complete(snapshot, record.outcome).catch(ignoreUnavailable);
      return finished(record, record.outcome, record.logs);
    }
    return snapshot ? this.#check(snapshot, record) : this.#findJob(id, record);
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
  async #readRecord(id: string): Promise<ReadRecord> {
    return this.#api.requests.find(id).catch((error) => {
      if (!isTemperaError(error)) throw error;
      return error;
    });
  }

  /** Finds the request in Temporal, which knows those that run and those that ended lately. */
  async #findJob(id: string, record: ReadRecord): Promise<FoundRequest | undefined> {
    const { jobs } = this.#api;
    if (record && !(record instanceof TemperaError) && record.node) {
      const node = await jobs.describeNode(id, record.node);
      if (node) {
        const { mayBeRecording, ...running } = node;
        if (mayBeRecording) throw endIsBeingRecorded();
        return { ...identityOf(record), ...running, position: 0, metrics: {} };
      }
    }
    const job = await jobs.describe(id);
    if (job && job.state !== "COMPLETED") {
      if (record instanceof TemperaError) throw record;
      const { recording, mayBeRecording, ...running } = job;
      if (recording || mayBeRecording) throw endIsBeingRecorded();
      return { ...running, position: 0, metrics: {} };
    }
    const outcome = job && (await jobs.outcome(id));
    if (outcome) return finished(job, outcome, []);
    if (record instanceof TemperaError) throw record;
    // Recorded as unfinished, and Temporal does not know it: its state was lost. IN_QUEUE for ever would be
    // wrong.
    return record && finished(record, failure("The job is no longer known to Temporal."), []);
  }

  /** The snapshot is in no doubt, or in one that was settled, and the other stores were asked lately. */
  #isChecked({ requestId, queuedAtMs, startedAtMs = 0, doubt }: Snapshot): boolean {
    const nowMs = this.#api.clock.nowMs();
    // Times of the log are those of other machines, whose clocks may be ahead.
    const firstMs = Math.min(nowMs, Math.max(queuedAtMs, startedAtMs));
    const last = this.#checks.get(requestId) ?? { atMs: firstMs };
    if (doubt !== undefined && last.doubt !== doubt) return false;
    const isRecent = nowMs - last.atMs < RECHECK_MS;
    if (isRecent) this.#checks.set(requestId, last);
    return isRecent;
  }

  /**
   * Finds out in Temporal whether a request that is unfinished in the event log has ended all the same: the
   * log was unavailable at its end, or an operator ended it. Writes an end that it finds to the log.
   *
   * @param record what PostgreSQL answered, no outcome
   */
  async #check(snapshot: Snapshot, record: ReadRecord): Promise<FoundRequest> {
    const { events, clock } = this.#api;
    const { requestId, node, doubt } = snapshot;
    const atMs = clock.nowMs();
    const last = this.#checks.get(requestId);
    // While the other stores answer slowly, other calls go on with what the log has; a doubt waits for them.
    this.#checks.set(requestId, { ...last, atMs });
    const outcome = await (node ? this.#outcomeOfNode(snapshot, node) : this.#outcomeOfJob(snapshot, record));
    if (outcome) {
      await events.complete(snapshot, outcome).catch(ignoreUnavailable);
      return finished(snapshot, outcome, []);
    }
    if (doubt !== undefined && doubt !== last?.doubt) {
      if (record instanceof TemperaError) throw record;
      this.#checks.set(requestId, { atMs, doubt });
    }
    return this.#ofSnapshot(snapshot);
  }

  /** The outcome of a job that has ended; `undefined` while it runs and while Temporal is unavailable. */
  async #outcomeOfJob({ requestId, doubt }: Snapshot, record: ReadRecord): Promise<Outcome | undefined> {
    const { jobs, requests } = this.#api;
    if (doubt === undefined) return jobs.outcome(requestId).catch(ignoreUnavailable);
    const job = await jobs.describe(requestId).catch(ignoreUnavailable);
    if (job?.recording || job?.mayBeRecording) throw endIsBeingRecorded();
    if (job?.state === "COMPLETED") return jobs.outcome(requestId).catch(ignoreUnavailable);
    if (!job || record instanceof TemperaError) return undefined;
    // An end that waited for PostgreSQL may have been recorded between the two reads.
    return (await requests.find(requestId).catch(ignoreUnavailable))?.outcome;
  }

  /** The outcome of a node whose pipeline no longer runs and has recorded none: an operator ended it. */
  async #outcomeOfNode({ requestId, doubt }: Snapshot, node: NodeRef): Promise<Outcome | undefined> {
    const { jobs, requests } = this.#api;
    let run: Awaited<ReturnType<typeof jobs.describeNode>>;
    try {
      run = await jobs.describeNode(requestId, node);
      if (!run) {
        // The node may have ended, and its pipeline with it, between the two reads.
        const recorded = (await requests.find(requestId))?.outcome;
        return recorded ?? failure("Its pipeline ended without an outcome of this node.");
      }
    } catch (error) {
      return ignoreUnavailable(error);
    }
    if (doubt !== undefined && run.mayBeRecording) throw endIsBeingRecorded();
    return undefined;
  }
}

/** The error while an end is known that may have been told and cannot be read. */
function endIsBeingRecorded(): TemperaError {
  return new TemperaError("store_unavailable", "The end of this request is being recorded. Try again.");
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

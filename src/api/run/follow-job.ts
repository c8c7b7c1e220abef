import { sleep } from "../../core/concurrency/sleep.ts";
import { isTemperaError } from "../../core/errors/tempera-error.ts";
import type { RequestEvent } from "../../core/requests/events.ts";
import type { Outcome } from "../../core/requests/request.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { createFindRequest } from "../requests/find-request.ts";

/** Time without an event after which a followed job is looked up in the other stores. */
const RECHECK_MS = 10_000;

/** Time between two lookups while the event log is away. */
const POLL_MS = 1_000;

/** An event of a job. Without an id it is the end as another store has it, and not from the event log. */
interface FollowedEvent {
  id?: string;
  event: RequestEvent;
}

/** The caller's request to follow, and the event after which to begin. */
export interface Followed {
  caller: Caller;
  requestId: string;
  afterId?: string;
}

/**
 * Yields the events of a job as they happen, up to `done`, which is always the last. They come from the event
 * log; in parallel, its end is looked up in Postgres and Temporal (design §4, step 5), so that a lost event
 * log delays an answer and loses none. Ends early only when `signal` aborts.
 *
 * The first `next` subscribes to the event log: call it before the job is started, and no event is missed.
 */
export async function* followJob(
  {
    api,
    findRequest,
  }: {
    api: Pick<ApiDependencies, "events" | "requests" | "jobs" | "objects">;
    findRequest: ReturnType<typeof createFindRequest>;
  },
  { caller, requestId, afterId }: Followed,
  signal: AbortSignal,
): AsyncGenerator<FollowedEvent> {
  const events = api.events.follow(requestId, afterId, signal)[Symbol.asyncIterator]();
  let next = events.next();
  let ended: Outcome | undefined;
  try {
    for (;;) {
      const first = await withinMs(next, ended ? POLL_MS : RECHECK_MS);
      if (first === undefined) {
        // The log had the time to deliver the end, so it has lost the job or regards the end as delivered.
        if (ended) return yield { event: { type: "done", outcome: ended } };
        // If the job has ended unnoticed, this lookup adds the end to the event log, and `done` follows.
        ended = await knownOutcome();
        continue;
      }
      if (first.done) break;
      yield first.value;
      if (first.value.event.type === "done") return;
      next = events.next();
    }
  } catch (error) {
    if (!isTemperaError(error)) throw error;
  } finally {
    next.catch(() => {});
    void events.return?.();
  }
  while (!signal.aborted) {
    const outcome = await knownOutcome();
    if (outcome) return yield { event: { type: "done", outcome } };
    await sleep(POLL_MS, signal).catch(() => {});
  }

  async function knownOutcome(): Promise<Outcome | undefined> {
    const found = await findRequest(caller, requestId).catch(() => undefined);
    if (found?.state !== "COMPLETED") return undefined;
    return found.outcome ?? (await api.events.outcome(requestId).catch(() => undefined))?.outcome;
  }
}

/** Resolves with the result of `work`, or with `undefined` when that takes longer than `ms`. */
async function withinMs<T>(work: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

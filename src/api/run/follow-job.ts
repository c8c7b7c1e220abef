import { isTemperaError } from "../../core/errors/tempera-error.ts";
import type { RequestEvent } from "../../core/requests/events.ts";
import { pause } from "../../core/concurrency/sleep.ts";
import type { Outcome } from "../../core/requests/request.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { createFindRequest } from "../requests/find-request.ts";
import type { Caller } from "../auth/key-ring.ts";

/** How often a job whose events are followed is looked up behind the event log's back. */
const RECHECK_MS = 10_000;

/** The same while the event log is away. */
const POLL_MS = 1_000;

/** An event of a job. Without an id it did not come from the event log: the end, as another store told it. */
interface FollowedEvent {
  id?: string;
  event: RequestEvent;
}

/** What is waited for: the caller's request, its events after `afterId`. */
export interface Followed {
  caller: Caller;
  requestId: string;
  afterId?: string;
}

/**
 * The events of a job as they come, up to `done`, which is always the last: from the event log, raced with
 * what Postgres and Temporal know of its end (design §4, step 5), so that a lost event log delays an answer
 * and loses none. Ends early only when `signal` aborts.
 *
 * The event log is subscribed to at the first `next`: ask for it before the job is started and nothing is
 * missed.
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
      const first = await orElse(next, ended ? POLL_MS : RECHECK_MS);
      if (first === undefined) {
        // The log has had its time to tell of the end: it has forgotten the job, or takes it for told.
        if (ended) return yield { event: { type: "done", outcome: ended } };
        // Should the job have ended unheard, this makes the event log know it, and `done` follows.
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
    await pause(POLL_MS, signal);
  }

  async function knownOutcome(): Promise<Outcome | undefined> {
    const found = await findRequest(caller, requestId).catch(() => undefined);
    if (found?.state !== "COMPLETED") return undefined;
    return found.outcome ?? (await api.events.outcome(requestId).catch(() => undefined))?.outcome;
  }
}

/** What `work` gives, or `undefined` when that takes longer than `ms`. */
async function orElse<T>(work: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

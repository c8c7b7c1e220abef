import { LIMITS } from "../core/limits.ts";
import type { Clock } from "../core/ports/clock.ts";
import type { DeadLetterStore } from "../core/ports/dead-letter-store.ts";
import type { EndedRequest, RequestSearch } from "../core/ports/request-search.ts";
import type { DeadLetter } from "../core/ports/request-store.ts";
import { hasPassed } from "../core/retention.ts";
import { GONE } from "../core/stored.ts";
import type { RetentionClock } from "./retention-clock.ts";

interface Times {
  times: RetentionClock;
  clock: Clock;
}

/** Fills a page with what may be shown: looks further where some of it may not. */
async function filled<T>(limit: number, read: (after: T | undefined) => Promise<T[]>, shown: (one: T) => boolean): Promise<T[]> {
  const found: T[] = [];
  let after: T | undefined;
  for (let pages = 0; pages < LIMITS.expiredPagesMax; pages++) {
    const page = await read(after);
    found.push(...page.filter(shown));
    after = page.at(-1);
    if (found.length >= limit || page.length < limit) break;
  }
  return found.slice(0, limit);
}

/** The same search, without what has lived its time and no sweep has come to yet. */
export const unexpiredSearch = (search: RequestSearch, { times, clock }: Times): RequestSearch => {
  const shown = ({ ownerId, endedAtMs }: EndedRequest): boolean => !hasPassed(times.of(ownerId).requestMs, endedAtMs, clock.nowMs());
  return {
    ...search,
    ended: ({ after: given, ...query }) =>
      filled<EndedRequest>(
        query.limit,
        (last) => {
          const after = last ? { value: query.sortBy === "ended_at" ? last.endedAtMs : last.seconds, requestId: last.requestId } : given;
          return search.ended({ ...query, ...(after && { after }) });
        },
        shown,
      ),
    async find(requestId) {
      const found = await search.find(requestId);
      return found && shown(found) ? found : undefined;
    },
    async payloads(requestIds) {
      const found = await search.payloads(requestIds);
      for (const [requestId, { job, outcome, endedAtMs }] of found) {
        if (!hasPassed(times.of(job.ownerId).payloadMs, endedAtMs, clock.nowMs())) continue;
        found.set(requestId, { job: { ...job, input: GONE }, outcome: outcome.ok ? { ...outcome, output: GONE } : outcome, endedAtMs });
      }
      return found;
    },
  };
};

/** The same letters, without those whose requests have lived their time, and without inputs that have: such a one cannot be tried again. */
export const unexpiredLetters = (letters: DeadLetterStore, { times, clock }: Times): DeadLetterStore => {
  // A letter is written when its request ends.
  const passed = (time: "requestMs" | "payloadMs", { ownerId, createdAtMs }: { ownerId: string; createdAtMs: number }): boolean =>
    hasPassed(times.of(ownerId)[time], createdAtMs, clock.nowMs());
  return {
    ...letters,
    list: ({ before: given, ...page }) =>
      filled<DeadLetter>(
        page.limit,
        (last) => {
          const before = last ? { atMs: last.createdAtMs, requestId: last.requestId } : given;
          return letters.list({ ...page, ...(before && { before }) });
        },
        (letter) => !passed("requestMs", letter),
      ),
    async find(requestId) {
      const found = await letters.find(requestId);
      if (!found || passed("requestMs", found)) return undefined;
      return passed("payloadMs", found) ? { ...found, job: { ...found.job, input: GONE } } : found;
    },
  };
};

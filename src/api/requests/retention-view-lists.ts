import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { DeadLetterStore } from "../../core/requests/dead-letter-store.ts";
import type { EndedRequest, RequestSearch } from "../../core/requests/request-search.ts";
import type { DeadLetter } from "../../core/requests/request-store.ts";
import { GONE } from "../../core/files/stored-value.ts";
import { createPassed, type RetentionClock } from "./retention-clock.ts";

interface Times {
  times: RetentionClock;
  clock: Clock;
}

/** Fills a page with what may be shown: looks further where some of it may not. */
async function filled<T>(
  limit: number,
  read: (after: T | undefined) => Promise<T[]>,
  shown: (one: T) => boolean,
): Promise<T[]> {
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
export const unexpiredSearch = (search: RequestSearch, parts: Times): RequestSearch => {
  const passed = createPassed(parts);
  const shown = ({ ownerId, endedAtMs }: EndedRequest): boolean => !passed("requestMs", ownerId, endedAtMs);
  return {
    ...search,
    ended: ({ after: given, ...query }) =>
      filled<EndedRequest>(
        query.limit,
        (last) => {
          const after = last
            ? {
                value: query.sortBy === "ended_at" ? last.endedAtMs : last.seconds,
                requestId: last.requestId,
              }
            : given;
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
        if (!passed("payloadMs", job.ownerId, endedAtMs)) continue;
        found.set(requestId, {
          job: { ...job, input: GONE },
          outcome: outcome.ok ? { ...outcome, output: GONE } : outcome,
          endedAtMs,
        });
      }
      return found;
    },
  };
};

/**
 * The same letters, without those whose requests have lived their time, and without inputs that have: such a
 * one cannot be tried again.
 */
export const unexpiredLetters = (letters: DeadLetterStore, parts: Times): DeadLetterStore => {
  const passed = createPassed(parts);
  return {
    ...letters,
    list: ({ before: given, ...page }) =>
      filled<DeadLetter>(
        page.limit,
        (last) => {
          const before = last ? { atMs: last.createdAtMs, requestId: last.requestId } : given;
          return letters.list({ ...page, ...(before && { before }) });
        },
        // A letter is written when its request ends.
        ({ ownerId, createdAtMs }) => !passed("requestMs", ownerId, createdAtMs),
      ),
    async find(requestId) {
      const found = await letters.find(requestId);
      if (!found || passed("requestMs", found.ownerId, found.createdAtMs)) return undefined;
      return passed("payloadMs", found.ownerId, found.createdAtMs)
        ? { ...found, job: { ...found.job, input: GONE } }
        : found;
    },
  };
};

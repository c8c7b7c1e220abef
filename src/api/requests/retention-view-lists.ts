import { TOMBSTONE } from "../../core/files/transient.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { DeadLetterStore } from "../../core/requests/dead-letter-store.ts";
import type { EndedRequest, RequestSearch } from "../../core/requests/request-search.ts";
import type { DeadLetter } from "../../core/requests/request-store.ts";
import { createHasPassed, type RetentionClock } from "./retention-clock.ts";

interface Parts {
  times: RetentionClock;
  clock: Clock;
}

/** Fills a page with entries that may be shown, and reads on where some may not. */
async function fillPage<T>(
  limit: number,
  read: (after: T | undefined) => Promise<T[]>,
  isVisible: (entry: T) => boolean,
): Promise<T[]> {
  const found: T[] = [];
  let after: T | undefined;
  for (let pages = 0; pages < LIMITS.expiredPagesMax; pages++) {
    const page = await read(after);
    found.push(...page.filter(isVisible));
    after = page.at(-1);
    if (found.length >= limit || page.length < limit) break;
  }
  return found.slice(0, limit);
}

/** Wraps a search so that it shows no request whose retention time has passed. */
export function searchRetentionView(search: RequestSearch, parts: Parts): RequestSearch {
  const hasPassed = createHasPassed(parts);
  const isVisible = ({ ownerId, endedAtMs }: EndedRequest): boolean =>
    !hasPassed("requestMs", ownerId, endedAtMs);
  return {
    ...search,
    ended: ({ after: given, ...query }) =>
      fillPage<EndedRequest>(
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
        isVisible,
      ),
    async find(requestId) {
      const found = await search.find(requestId);
      return found && isVisible(found) ? found : undefined;
    },
    async payloads(requestIds) {
      const found = await search.payloads(requestIds);
      for (const [requestId, { job, outcome, endedAtMs }] of found) {
        if (!hasPassed("payloadMs", job.ownerId, endedAtMs)) continue;
        found.set(requestId, {
          job: { ...job, input: TOMBSTONE },
          outcome: outcome.ok ? { ...outcome, output: TOMBSTONE } : outcome,
          endedAtMs,
        });
      }
      return found;
    },
  };
}

/**
 * Wraps dead letters so that they show none whose request's retention time has passed, and no input whose own
 * time has: such a letter cannot be retried.
 */
export function deadLetterRetentionView(letters: DeadLetterStore, parts: Parts): DeadLetterStore {
  const hasPassed = createHasPassed(parts);
  return {
    ...letters,
    list: ({ before: given, ...page }) =>
      fillPage<DeadLetter>(
        page.limit,
        (last) => {
          const before = last ? { atMs: last.createdAtMs, requestId: last.requestId } : given;
          return letters.list({ ...page, ...(before && { before }) });
        },
        // A letter is written when its request ends, so its creation counts as the end.
        ({ ownerId, createdAtMs }) => !hasPassed("requestMs", ownerId, createdAtMs),
      ),
    async find(requestId) {
      const found = await letters.find(requestId);
      if (!found || hasPassed("requestMs", found.ownerId, found.createdAtMs)) return undefined;
      return hasPassed("payloadMs", found.ownerId, found.createdAtMs)
        ? { ...found, job: { ...found.job, input: TOMBSTONE } }
        : found;
    },
  };
}

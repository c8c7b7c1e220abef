import { z } from "@hono/zod-openapi";
import { errorInfo, TemperaError } from "../../../../core/errors/tempera-error.ts";
import type { JobSpec } from "../../../../core/requests/job.ts";
import { LIMITS } from "../../../../core/limits.ts";
import type { DeadLetterDetail } from "../../../../core/requests/dead-letter-store.ts";
import type { DeadLetter } from "../../../../core/requests/request-store.ts";
import { newRequestId } from "../../../../core/requests/request-id.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { refuseGone } from "../../../pipelines/assert-callees-available.ts";
import { cursorOf, PAGE_ANSWER, PAGE_QUERY, pageAfter, paged } from "../../http/page.ts";
import type { AddVerb } from "../../http/route.ts";

const DEAD_LETTER = z
  .object({
    request_id: z.string(),
    owner: z.string(),
    endpoint_id: z.string(),
    version: z.string(),
    reason: z.string(),
    attempts: z.int(),
    created_at: z.string(),
  })
  .openapi("DeadLetter");

const letterBody = (letter: DeadLetter): z.input<typeof DEAD_LETTER> => ({
  request_id: letter.requestId,
  owner: letter.ownerId,
  endpoint_id: letter.endpoint,
  version: letter.version,
  reason: letter.reason,
  attempts: letter.attempts,
  created_at: new Date(letter.createdAtMs).toISOString(),
});

const REQUEST = z.object({ request_id: z.string() });

type Needs = Pick<
  ApiDependencies,
  "deadLetters" | "jobs" | "events" | "requests" | "objects" | "registry" | "clock" | "log"
>;

/** Jobs that used up their attempts and wait for a person. */
export function addDeadLetterVerbs(add: AddVerb, api: Needs): void {
  const { deadLetters } = api;
  const known = async (requestId: string): Promise<DeadLetterDetail> => {
    const found = await deadLetters.find(requestId.toLowerCase());
    if (!found) throw new TemperaError("dead_letter_unknown");
    return found;
  };

  add(
    {
      method: "get",
      path: "/v1/dead-letters",
      says: "Lists the jobs that used up their attempts and wait for a person, newest first.",
      scope: "ADMIN",
      query: PAGE_QUERY,
      answer: z.object({ dead_letters: z.array(DEAD_LETTER), ...PAGE_ANSWER }),
    },
    async ({ query: { limit, cursor } }) => {
      const { before } = pageAfter({ cursor });
      const found = await deadLetters.list({
        limit: limit + 1,
        ...(before && { before: { atMs: before.atMs, requestId: before.id } }),
      });
      const { items, ...page } = paged(found, limit, ({ createdAtMs, requestId }) =>
        cursorOf(createdAtMs, requestId),
      );
      return { dead_letters: items.map(letterBody), ...page };
    },
  );

  add(
    {
      method: "get",
      path: "/v1/dead-letters/{request_id}",
      says: "Shows one letter, its error, and its input when that is not too big to stand here.",
      scope: "ADMIN",
      params: REQUEST,
      answer: DEAD_LETTER.extend({
        error: z.unknown(),
        input: z.unknown(),
        webhook_url: z.string().nullable(),
        retry_of: z.string().nullable(),
        retried_as: z.string().nullable(),
        retried_at: z.string().nullable(),
      }),
      errors: ["dead_letter_unknown"],
    },
    async ({ params }) => {
      const found = await known(params.request_id);
      return {
        ...letterBody(found),
        error: found.outcome.ok ? null : found.outcome.error,
        input: "inline" in found.job.input ? found.job.input.inline : null,
        webhook_url: found.job.webhook?.url ?? null,
        retry_of: found.job.retryOf ?? null,
        retried_as: found.retriedAs ?? null,
        retried_at: found.retriedAtMs === undefined ? null : new Date(found.retriedAtMs).toISOString(),
      };
    },
  );

  add(
    {
      method: "post",
      path: "/v1/dead-letters/{request_id}/retry",
      says: "Starts a new request that does the same (decision 12). Asked again it answers the same id and starts nothing twice.",
      scope: "ADMIN",
      params: REQUEST,
      audit: "dead-letters.retry",
      answer: z.object({ request_id: z.string(), retry_of: z.string(), endpoint_id: z.string() }),
      errors: ["dead_letter_unknown", "endpoint_unknown", "file_unknown", "temporal_unavailable"],
    },
    async ({ params, change }) => {
      const found = await known(params.request_id);
      const { endpoint } = found.job;
      return change({ subject: found.requestId, before: letterBody(found) }, async () => {
        const requestId = await retry(api, found);
        return {
          after: { retried_as: requestId },
          result: { request_id: requestId, retry_of: found.requestId, endpoint_id: endpoint },
        };
      });
    },
  );

  add(
    {
      method: "delete",
      path: "/v1/dead-letters/{request_id}",
      says: "Forgets a letter: nobody waits for it any more. The request keeps its outcome.",
      scope: "ADMIN",
      params: REQUEST,
      audit: "dead-letters.discard",
      status: 204,
      errors: ["dead_letter_unknown"],
    },
    async ({ params, change }) => {
      const found = await known(params.request_id);
      return change({ subject: found.requestId, before: letterBody(found) }, async () => {
        if (!(await deadLetters.discard(found.requestId))) throw new TemperaError("dead_letter_unknown");
        return { result: undefined };
      });
    },
  );
}

/**
 * Starts the request that tries a dead letter again; returns its id.
 *
 * Throws `endpoint_unknown` when the model version is no longer served, `file_unknown` when the input is
 * gone.
 */
async function retry(api: Needs, found: DeadLetterDetail): Promise<string> {
  const { job: dead } = found;
  if (dead.pipeline)
    await refuseGone({ objects: api.objects, registry: api.registry }, { ...dead, pipeline: dead.pipeline });
  else if (!api.registry.find(dead.endpoint, dead.version)) {
    throw new TemperaError(
      "endpoint_unknown",
      `${dead.endpoint} ${dead.version} is no longer served; submit the input to a version that is.`,
    );
  }
  if ("ref" in dead.input && !(await api.objects.head(dead.input.ref))) {
    throw new TemperaError("file_unknown", "The input of this request is no longer stored; submit it anew.");
  }
  // Named in the store before it is started: whoever comes in between, or after a crash, starts the same one.
  const requestId = await api.deadLetters.claimRetry(found.requestId, newRequestId(api.clock.nowMs()));
  if (requestId === undefined) throw new TemperaError("dead_letter_unknown");
  if (found.retriedAtMs === undefined) {
    const job: JobSpec = { ...dead, requestId, submittedAtMs: api.clock.nowMs(), retryOf: found.requestId };
    // Nobody has taken a place for it, as somebody had for a run: it waits for one.
    if (job.place) job.place = "waits";
    if (job.pipeline) job.pipeline = { ...job.pipeline, deadlineMs: api.clock.nowMs() + LIMITS.pipelineMs };
    delete job.logged; // the lines of the first submit stay with it
    const queued = api.events.append(job, { type: "queued", attempt: 0 });
    queued.catch((error) =>
      api.log.warn({ requestId, err: errorInfo(error) }, "the event log did not take the retry"),
    );
    await api.jobs.start(job);
    await api.requests
      .insert(job)
      .catch((error) =>
        api.log.warn(
          { requestId, err: errorInfo(error) },
          "the request's row was not inserted; its finish step will",
        ),
      );
    await api.deadLetters.retried(found.requestId, api.clock.nowMs());
  }
  return requestId;
}

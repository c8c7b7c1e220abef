import { z } from "@hono/zod-openapi";
import { errorInfo, TemperaError } from "../../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../../core/limits.ts";
import type { DeadLetterDetail } from "../../../../core/requests/dead-letter-store.ts";
import type { JobSpec } from "../../../../core/requests/job.ts";
import { newRequestId } from "../../../../core/requests/request-id.ts";
import type { DeadLetter } from "../../../../core/requests/request-store.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { assertTargetsAvailable } from "../../../pipelines/assert-targets-available.ts";
import { cursorOf, PAGE_FIELDS, PAGE_QUERY, pageAfter, paged } from "../../http/page.ts";
import type { AddRoute } from "../../http/route.ts";

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

/** A dead letter, as the API lists it. */
export type DeadLetterView = z.output<typeof DEAD_LETTER>;

const letterBody = (letter: DeadLetter): DeadLetterView => ({
  request_id: letter.requestId,
  owner: letter.ownerId,
  endpoint_id: letter.endpoint,
  version: letter.version,
  reason: letter.reason,
  attempts: letter.attempts,
  created_at: new Date(letter.createdAtMs).toISOString(),
});

const PARAMS = z.object({ request_id: z.string() });

type Dependencies = Pick<
  ApiDependencies,
  "deadLetters" | "jobs" | "events" | "requests" | "objects" | "registry" | "clock" | "log"
>;

/** Adds the routes of dead letters: jobs that used up their attempts and wait for an operator's decision. */
export function addDeadLetterRoutes(addRoute: AddRoute, api: Dependencies): void {
  addReadRoutes(addRoute, api);
  addRetryRoute(addRoute, api);
  addDiscardRoute(addRoute, api);
}

/** Throws `dead_letter_unknown`. */
async function existing({ deadLetters }: Dependencies, requestId: string): Promise<DeadLetterDetail> {
  const found = await deadLetters.find(requestId.toLowerCase());
  if (!found) throw new TemperaError("dead_letter_unknown");
  return found;
}

function addReadRoutes(addRoute: AddRoute, api: Dependencies): void {
  addRoute(
    {
      method: "get",
      path: "/v1/dead-letters",
      summary: "Lists the jobs that used up their attempts and wait for a decision, newest first.",
      scope: "ADMIN",
      query: PAGE_QUERY,
      response: z.object({ dead_letters: z.array(DEAD_LETTER), ...PAGE_FIELDS }),
    },
    async ({ query: { limit, cursor } }) => {
      const { before } = pageAfter({ cursor });
      const found = await api.deadLetters.list({
        limit: limit + 1,
        ...(before && { before: { atMs: before.atMs, requestId: before.id } }),
      });
      const { items, ...page } = paged(found, limit, ({ createdAtMs, requestId }) =>
        cursorOf(createdAtMs, requestId),
      );
      return { dead_letters: items.map(letterBody), ...page };
    },
  );

  addRoute(
    {
      method: "get",
      path: "/v1/dead-letters/{request_id}",
      summary: "Shows one dead letter with its error, and with its input if that is small.",
      scope: "ADMIN",
      params: PARAMS,
      response: DEAD_LETTER.extend({
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
      const found = await existing(api, params.request_id);
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
}

function addRetryRoute(addRoute: AddRoute, api: Dependencies): void {
  addRoute(
    {
      method: "post",
      path: "/v1/dead-letters/{request_id}/retry",
      summary:
        "Starts a new request with the same input (decision 12). " +
        "A repeated call returns the same id and starts nothing.",
      scope: "ADMIN",
      params: PARAMS,
      audit: "dead-letters.retry",
      response: z.object({ request_id: z.string(), retry_of: z.string(), endpoint_id: z.string() }),
      errors: ["dead_letter_unknown", "endpoint_unknown", "file_unknown", "temporal_unavailable"],
    },
    async ({ params, change }) => {
      const found = await existing(api, params.request_id);
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
}

function addDiscardRoute(addRoute: AddRoute, api: Dependencies): void {
  addRoute(
    {
      method: "delete",
      path: "/v1/dead-letters/{request_id}",
      summary: "Deletes a dead letter without a retry. The request keeps its outcome.",
      scope: "ADMIN",
      params: PARAMS,
      audit: "dead-letters.discard",
      status: 204,
      errors: ["dead_letter_unknown"],
    },
    async ({ params, change }) => {
      const found = await existing(api, params.request_id);
      return change({ subject: found.requestId, before: letterBody(found) }, async () => {
        if (!(await api.deadLetters.discard(found.requestId))) throw new TemperaError("dead_letter_unknown");
        return { result: undefined };
      });
    },
  );
}

/**
 * Starts the request that retries a dead letter; returns its id.
 *
 * Rejects with `endpoint_unknown` when the model version is no longer served, and with `file_unknown` when
 * the input is no longer stored.
 */
async function retry(api: Dependencies, found: DeadLetterDetail): Promise<string> {
  const { job: dead } = found;
  await assertRetryable(api, dead);
  // The id is stored before the start: a concurrent retry, or one after a crash, starts the same request.
  const requestId = await api.deadLetters.claimRetry(found.requestId, newRequestId(api.clock.nowMs()));
  if (requestId === undefined) throw new TemperaError("dead_letter_unknown");
  if (found.retriedAtMs === undefined) {
    await startRetry(api, retryJob(dead, requestId, found.requestId, api.clock.nowMs()));
    await api.deadLetters.markRetried(found.requestId, api.clock.nowMs());
  }
  return requestId;
}

async function assertRetryable({ objects, registry }: Dependencies, dead: JobSpec): Promise<void> {
  if (dead.pipeline)
    await assertTargetsAvailable({ objects, registry }, { ...dead, pipeline: dead.pipeline });
  else if (!registry.find(dead.endpoint, dead.version)) {
    throw new TemperaError(
      "endpoint_unknown",
      `${dead.endpoint} ${dead.version} is no longer served; submit the input to a version that is.`,
    );
  }
  if ("ref" in dead.input && !(await objects.head(dead.input.ref)))
    throw new TemperaError("file_unknown", "The input of this request is no longer stored; submit it again.");
}

/** Makes the job of a retry from the dead job. */
function retryJob(dead: JobSpec, requestId: string, retryOf: string, nowMs: number): JobSpec {
  const job: JobSpec = { ...dead, requestId, submittedAtMs: nowMs, retryOf };
  // A direct run acquires its concurrency slot before its job starts. Nothing did so here, so the job waits.
  if (job.place) job.place = "waits";
  if (job.pipeline) job.pipeline = { ...job.pipeline, deadlineMs: nowMs + LIMITS.pipelineMs };
  delete job.logged; // the log lines of the first submit belong to that request
  return job;
}

async function startRetry({ events, jobs, requests, log }: Dependencies, job: JobSpec): Promise<void> {
  const { requestId } = job;
  const queued = events.append(job, { type: "queued", attempt: 0 });
  queued.catch((error) =>
    log.warn({ requestId, err: errorInfo(error) }, "the retry was not announced in the event log"),
  );
  await jobs.start(job);
  await requests
    .insert(job)
    .catch((error) =>
      log.warn(
        { requestId, err: errorInfo(error) },
        "the request's row was not inserted; its finish step will insert it",
      ),
    );
}

import type { Context } from "hono";
import { errorInfo, TemperaError } from "../../core/errors/tempera-error.ts";
import type { JobSpec } from "../../core/job.ts";
import { LIMITS } from "../../core/limits.ts";
import type { DeadLetter } from "../../core/ports/request-store.ts";
import { newRequestId } from "../../core/request-id.ts";
import { answerJson } from "../answer-json.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { REQUEST_ID_HEADER, requestIdOf } from "../request-id.ts";
import { paged, pageOf } from "./page.ts";

const letterBody = (letter: DeadLetter) => ({
  request_id: letter.requestId,
  owner: letter.ownerId,
  endpoint_id: letter.endpoint,
  version: letter.version,
  reason: letter.reason,
  attempts: letter.attempts,
  created_at: new Date(letter.createdAtMs).toISOString(),
});

/** `GET /v1/dead-letters?limit=&cursor=` → jobs that used up their attempts and wait for a person, newest first. */
export const createDeadLettersList =
  ({ deadLetters }: Pick<ApiDependencies, "deadLetters">) =>
  async (c: Context): Promise<Response> => {
    const page = pageOf(c);
    const { items, ...rest } = paged(await deadLetters.list({ ...page, limit: page.limit + 1 }), page);
    return answerJson(c, { dead_letters: items.map(letterBody), ...rest });
  };

/** `GET /v1/dead-letters/{request_id}` → one letter, its input (when it is not too big to stand here) and its error. */
export const createDeadLettersShow =
  ({ deadLetters }: Pick<ApiDependencies, "deadLetters">) =>
  async (c: Context): Promise<Response> => {
    const found = await deadLetters.find(c.req.param("request_id") ?? "");
    if (!found) throw new TemperaError("dead_letter_unknown");
    return answerJson(c, {
      ...letterBody(found),
      error: found.outcome.ok ? null : found.outcome.error,
      input: "inline" in found.job.input ? found.job.input.inline : null,
      webhook_url: found.job.webhook?.url ?? null,
      retry_of: found.job.retryOf ?? null,
      retried_as: found.retriedAs ?? null,
      retried_at: found.retriedAtMs === undefined ? null : new Date(found.retriedAtMs).toISOString(),
    });
  };

/**
 * `POST /v1/dead-letters/{request_id}/retry` → 200 with the id of a new request that does the same (docs/decisions/0012). Asked again,
 * it answers the same id and starts nothing twice. 404 `dead_letter_unknown`, `endpoint_unknown` when the model version is no longer
 * served, `file_unknown` when the input is gone; 503 Temporal.
 */
export const createDeadLettersRetry =
  (api: Pick<ApiDependencies, "deadLetters" | "jobs" | "events" | "requests" | "objects" | "registry" | "clock" | "log">) =>
  async (c: Context): Promise<Response> => {
    const found = await api.deadLetters.find((c.req.param("request_id") ?? "").toLowerCase());
    if (!found) throw new TemperaError("dead_letter_unknown");
    const { job: dead } = found;
    // A pipeline carries what it calls with it.
    if (!dead.pipeline && !api.registry.find(dead.endpoint, dead.version)) {
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
      if (job.pipeline) job.pipeline = { ...job.pipeline, deadlineMs: api.clock.nowMs() + LIMITS.pipelineMs };
      delete job.logged; // the lines of the first submit stay with it
      const queued = api.events.append(job, { type: "queued", attempt: 0 });
      queued.catch((error) => api.log.warn({ requestId, err: errorInfo(error) }, "the event log did not take the retry"));
      await api.jobs.start(job);
      await api.requests
        .insert(job)
        .catch((error) => api.log.warn({ requestId, err: errorInfo(error) }, "the request's row was not inserted; its finish step will"));
      await api.deadLetters.retried(found.requestId, api.clock.nowMs());
    }
    return answerJson(c, { request_id: requestId, retry_of: found.requestId, endpoint_id: dead.endpoint });
  };

/** `DELETE /v1/dead-letters/{request_id}` → 204: nobody waits for it any more. The request keeps its outcome. */
export const createDeadLettersDiscard =
  ({ deadLetters }: Pick<ApiDependencies, "deadLetters">) =>
  async (c: Context): Promise<Response> => {
    if (!(await deadLetters.discard(c.req.param("request_id") ?? ""))) throw new TemperaError("dead_letter_unknown");
    return c.body(null, 204, { [REQUEST_ID_HEADER]: requestIdOf(c) });
  };

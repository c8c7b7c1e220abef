import { setImmediate as nextTurn } from "node:timers/promises";
import type { Context } from "hono";
import { appOf } from "../../core/endpoint.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { answerOutcome } from "../answer-outcome.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { createFindRequest } from "../find-request.ts";
import { queueJob, readIntake } from "../intake.ts";
import { requestIdOf } from "../request-id.ts";
import { callerRoute } from "../route-of.ts";
import { cancelJob } from "./cancel-job.ts";
import { followJob } from "./follow-job.ts";
import type { InFlight } from "./in-flight.ts";
import { readRunInput } from "./run-input.ts";

/** A run that takes longer is listed while it runs. */
const RECORD_AFTER_MS = 1_000;

export type RunApi = Pick<
  ApiDependencies,
  | "keyRing"
  | "tokens"
  | "registry"
  | "findPipeline"
  | "flags"
  | "jobs"
  | "events"
  | "requests"
  | "objects"
  | "storageDefaults"
  | "clock"
  | "log"
  | "bodyBytesMax"
>;

/**
 * Runs a model and answers with its output, as one call (contract §3): the job of a submit with a single attempt, waited for.
 * Cancelled when the caller leaves.
 *
 * 401, 404, 400, 413, 422 and 503 as a submit; 429 when the caller has too many of these open; then what the result says.
 */
export const createRun = (api: RunApi, inFlight: InFlight) => {
  const findRequest = createFindRequest(api);
  return async (c: Context, endpoint: string): Promise<Response> => {
    const caller = await api.keyRing.authenticate(c.req.header("authorization"), appOf(endpoint));
    const route = await callerRoute(api, caller, { endpoint, requestId: requestIdOf(c) });
    using _place = inFlight.take(caller.ownerId);
    const raw = await readRunInput(c, (route.model ?? route.pipeline).schemas.input, api.bodyBytesMax);
    const intake = await readIntake(api, c, { route, caller, raw, direct: true });
    const { requestId } = intake.job;

    const stop = new AbortController();
    const events = followJob({ api, findRequest }, { caller, requestId }, stop.signal);
    const gone = c.req.raw.signal;
    const leave = (): void => {
      stop.abort();
      cancelJob(api, requestId);
    };
    try {
      const queueing = queueJob(api, intake, { recordAfterMs: RECORD_AFTER_MS });
      // Behind the start and ahead of its answer, so that a quick job's end is told and not read back.
      let next = nextTurn().then(() => events.next());
      next.catch(() => {});
      await queueing.started;
      gone.addEventListener("abort", leave, { once: true });
      if (gone.aborted) leave();
      let servedFrom: string | undefined;
      for (;;) {
        const { done, value } = await next;
        if (done) throw new TemperaError("client_disconnected");
        if (value.event.type === "started") servedFrom = value.event.worker;
        if (value.event.type === "done") {
          queueing.ended();
          return await answerOutcome(c, api, value.event.outcome, servedFrom === undefined ? {} : { "x-fal-served-from": servedFrom });
        }
        next = events.next();
      }
    } finally {
      gone.removeEventListener("abort", leave);
      stop.abort();
      void events.return(undefined);
    }
  };
};

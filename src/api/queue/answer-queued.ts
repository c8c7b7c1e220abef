import type { Context } from "hono";
import { submitBody } from "../../fal/index.ts";
import { addressOf } from "../address.ts";
import { answerJson } from "../answer-json.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { type Intake, queueJob } from "../intake.ts";

/** Queues a checked request and answers as a submit is: once Temporal has its job. */
export async function answerQueued(
  c: Context,
  api: Pick<ApiDependencies, "jobs" | "events" | "requests" | "log" | "publicUrl">,
  intake: Intake,
): Promise<Response> {
  const { job } = intake;
  const queueing = queueJob(api, intake);
  const counted = queueing.announced
    .then(() => api.events.position({ ...job, state: "IN_QUEUE", attempt: 0, queuedAtMs: job.submittedAtMs }))
    .catch(() => 0);
  const startMs = await queueing.started;
  const position = await counted;
  const temporal = `temporal;dur=${startMs.toFixed(2)}`;
  return answerJson(c, submitBody(addressOf(c, "queue", api.publicUrl), job, position), 200, { "server-timing": temporal });
}

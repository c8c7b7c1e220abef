import type { Context } from "hono";
import { appOf } from "../../core/endpoint.ts";
import { errorInfo, TemperaError } from "../../core/errors/tempera-error.ts";
import type { JobSpec } from "../../core/job.ts";
import { taskQueueOf } from "../../core/model.ts";
import { store } from "../../core/stored.ts";
import { type QueuePath, submitBody, submitOptions } from "../../fal/index.ts";
import { addressOf } from "../address.ts";
import { answerJson } from "../answer-json.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { readJsonBody } from "../read-body.ts";
import { requestIdOf } from "../request-id.ts";

/**
 * Accepts a request: 200 once Temporal has its job (design §4, step 1).
 *
 * Refused before anything is queued: 401 the key, 404 the endpoint, 413/400 the body, 422 an input that does not fit the
 * model, 429 a queue longer than `fal_max_queue_length`, 503 Temporal.
 */
export const createSubmit =
  (
    api: Pick<
      ApiDependencies,
      "keyRing" | "registry" | "jobs" | "events" | "requests" | "objects" | "clock" | "log" | "bodyBytesMax" | "publicUrl" | "webhookOf"
    >,
  ) =>
  async (c: Context, { endpoint }: QueuePath): Promise<Response> => {
    const app = appOf(endpoint);
    const caller = await api.keyRing.authenticate(c.req.header("authorization"), app);
    const route = api.registry.route(endpoint);
    if (!route) {
      if (!api.registry.hasApp(app)) throw new TemperaError("endpoint_unknown", `Application "${app.split("/").at(-1)}" not found`);
      throw new TemperaError("path_unknown", `Path /${endpoint.slice(app.length + 1)} not found`);
    }
    const { model } = route;
    const raw = await readJsonBody(c, api.bodyBytesMax);
    const checked = route.checkInput(raw);
    if ("faults" in checked) throw new TemperaError("input_invalid", undefined, { faults: checked.faults });

    const webhook = api.webhookOf(c.req.query("fal_webhook"));
    const requestId = requestIdOf(c);
    const taskQueue = taskQueueOf(model);
    const queueMax = c.req.query("fal_max_queue_length") ?? "";
    if (/^\d{1,9}$/.test(queueMax)) {
      const waiting = await api.events.waiting(taskQueue).catch(() => 0);
      if (waiting > Number(queueMax))
        throw new TemperaError(
          "queue_full",
          `The queue holds ${waiting} requests, more than the ${queueMax} allowed by fal_max_queue_length.`,
        );
    }
    const { priority, startTimeoutMs, noRetry } = submitOptions((name) => c.req.header(name));
    const job: JobSpec = {
      requestId,
      ownerId: caller.ownerId,
      keyId: caller.keyId,
      endpoint: model.endpoint,
      version: model.version,
      taskQueue,
      priority,
      modelDigest: model.digest,
      input: await store(api.objects, `inputs/${requestId}.json`, checked.input),
      submittedAtMs: api.clock.nowMs(),
      ...(checked.ignored.length > 0 && { logged: true }),
      ...(startTimeoutMs !== undefined && { startTimeoutMs }),
      ...(webhook && { webhook }),
      retry: noRetry ? { ...model.retry, attemptsMax: 1 } : model.retry,
      timeouts: { heartbeatMs: model.timeouts.heartbeatMs, runMs: model.timeouts.runMs },
    };

    const queued = announce(job, checked.ignored);
    const startedAtMs = performance.now();
    try {
      await api.jobs.start(job);
    } catch (error) {
      // The start may have reached Temporal although its answer did not reach us: nobody will ask for it, so it must not run.
      void queued.then(() => api.events.drop(job)).catch(() => {});
      void api.jobs.cancel(requestId).catch(() => {});
      throw error;
    }
    const startMs = performance.now() - startedAtMs;
    api.requests
      .insert(job)
      .catch((error) => api.log.warn({ requestId, err: errorInfo(error) }, "the request's row was not inserted; its finish step will"));
    const position = await queued;
    const temporal = `temporal;dur=${startMs.toFixed(2)}`;
    return answerJson(c, submitBody(addressOf(c, "queue", api.publicUrl), job, position), 200, { "server-timing": temporal });

    /** Says in the event log that it waits, beside the start; returns its position. The log may be away. */
    async function announce(request: JobSpec, ignored: string[]): Promise<number> {
      try {
        const appends = [api.events.append(request, { type: "queued", attempt: 0 })];
        if (ignored.length > 0) {
          const names = ignored
            .map((name) => JSON.stringify(name.slice(0, 80)))
            .slice(0, 20)
            .join(", ");
          const message = `Ignored ${ignored.length === 1 ? "a field" : "fields"} this model does not know: ${names}`;
          appends.push(api.events.append(request, { type: "log", attempt: 0, level: "WARN", message }));
        }
        await Promise.all(appends);
        return await api.events.position({ ...request, state: "IN_QUEUE", attempt: 0, queuedAtMs: request.submittedAtMs });
      } catch (error) {
        api.log.warn({ requestId: request.requestId, err: errorInfo(error) }, "the event log did not take the submit");
        return 0;
      }
    }
  };

/** Taking a request in: what a submit, a sync run and a stream have in common (design §4, step 1). */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Context } from "hono";
import { errorInfo, TemperaError } from "../../core/errors/tempera-error.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import type { Json } from "../../core/json/json.ts";
import { type Lifecycle, lasting } from "../../core/files/lifecycle.ts";
import { type ModelVersion, type RetryPolicy, taskQueueOf } from "../../core/models/model.ts";
import { store, storeApart, transientKey } from "../../core/files/stored-value.ts";
import {
  CACHE_HEADER,
  LIFECYCLE_PREFERENCE_HEADER,
  saysHowLong,
  submitOptions,
  wantedLifecycle,
  wantsCache,
} from "../../fal/index.ts";
import type { Route } from "../../registry/registry.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { Held } from "../limits/usage-counter.ts";
import { EXECUTION, openExecution } from "../pipelines/execution.ts";
import { PIPELINE_PRICE, pipelineJob } from "../pipelines/pipeline-job.ts";
import { requestIdOf } from "../http/request-id.ts";

/** A checked request, not yet queued. */
export interface Intake {
  job: JobSpec;
  /** Fields of the input that the model does not know. */
  ignored: string[];
  /** What it counts for by its owner's limits, as long as no record has it. */
  held: Held[];
  /** Somebody streams it. */
  streamed?: boolean;
}

/**
 * Makes a job of an input and of the headers that steer it. Throws `input_invalid`; rejects with
 * `store_unavailable` when a large input cannot be put away, with `spend_exhausted`, and with what
 * `resolveCallees` says when a pipeline cannot be run. Nothing is queued yet.
 *
 * @param streamed the caller is shown what happens, with previews where the model makes them and no flag is against it
 * @param direct one attempt, as fal's synchronous runs have it: their callers wait, and try again themselves (contract §3)
 */
export async function readIntake(
  api: Pick<
    ApiDependencies,
    | "objects"
    | "clock"
    | "limits"
    | "registry"
    | "findPipeline"
    | "checkDefinition"
    | "storageDefaults"
    | "times"
    | "flags"
  >,
  c: Context,
  {
    route: named,
    caller,
    raw: body,
    direct = false,
    streamed = false,
  }: { route: Route; caller: Caller; raw: Json; direct?: boolean; streamed?: boolean },
): Promise<Intake> {
  const { route, raw } =
    named === EXECUTION
      ? await openExecution(api.checkDefinition, caller, body)
      : { route: named, raw: body };
  const checked = route.checkInput(raw);
  if ("faults" in checked) throw new TemperaError("input_invalid", undefined, { faults: checked.faults });
  const { asked, retryOf } = await askedOf(api, c, caller, { direct });
  const { requestId, storeIo } = asked;
  const work = route.model
    ? modelJob(route.model)
    : await pipelineJob(api, {
        pipeline: route.pipeline,
        requestId,
        ownerId: caller.ownerId,
        input: checked.input,
        cache: wantsCache(c.req.header(CACHE_HEADER)),
      });
  const spent = await api.limits.spend(caller, route.model ? route.model.price : PIPELINE_PRICE);
  const input = await (storeIo === false
    ? storeApart(api.objects, transientKey(requestId, "input"), checked.input)
    : store(api.objects, `inputs/${requestId}.json`, checked.input)
  ).catch((error) => {
    spent?.drop();
    throw error;
  });
  const job: JobSpec = {
    ...asked,
    input,
    submittedAtMs: api.clock.nowMs(),
    ...(checked.ignored.length > 0 && { logged: true }),
    ...(streamed && api.flags.isOn("behaviour", "previews", caller.ownerId) && { previews: true }),
    ...work,
    retry: retryOf(work.retry),
  };
  return { job, ignored: checked.ignored, streamed, held: spent ? [spent] : [] };
}

/** What of a job its caller decides, by who it is and by the headers. */
type Asked = Pick<
  JobSpec,
  | "requestId"
  | "ownerId"
  | "keyId"
  | "priority"
  | "direct"
  | "weight"
  | "place"
  | "startTimeoutMs"
  | "lifecycle"
  | "storeIo"
>;

/**
 * Reads what the caller of a job asks for beside its input; `retryOf` is what that leaves of a model's
 * retries. Throws `input_invalid`.
 *
 * @param direct one attempt, in a place that is taken before it starts
 */
export async function askedOf(
  api: Pick<ApiDependencies, "limits" | "storageDefaults" | "times">,
  c: Context,
  caller: Caller,
  { direct = false }: { direct?: boolean } = {},
): Promise<{ asked: Asked; retryOf: (policy: RetryPolicy) => RetryPolicy }> {
  const lifecycle = outputLifecycle(api, c.req.header(LIFECYCLE_PREFERENCE_HEADER), caller.ownerId);
  const { weight, inProgress } = (await api.limits.of(caller)).owner;
  const { priority, startTimeoutMs, noRetry, retryLimits, storeIo } = submitOptions((name) =>
    c.req.header(name),
  );
  return {
    asked: {
      requestId: requestIdOf(c),
      ownerId: caller.ownerId,
      keyId: caller.keyId,
      priority,
      ...(direct && { direct }),
      ...(weight !== undefined && weight !== 1 && { weight }),
      ...(inProgress !== undefined && { place: direct ? ("holds" as const) : ("waits" as const) }),
      ...(startTimeoutMs !== undefined && { startTimeoutMs }),
      ...(lifecycle && { lifecycle }),
      ...(storeIo === false && { storeIo }),
    },
    retryOf: (policy) => ({
      ...policy,
      ...(retryLimits && { limits: retryLimits }),
      ...((noRetry || direct) && { attemptsMax: 1 }),
    }),
  };
}

/**
 * The lifecycle of what a job produces: what its caller says, else its owner's default, else the
 * installation's time. `undefined`: for ever and for everybody, and then its files need no record.
 */
function outputLifecycle(
  { storageDefaults, times }: Pick<ApiDependencies, "storageDefaults" | "times">,
  header: string | undefined,
  ownerId: string,
): Lifecycle | undefined {
  const wanted = wantedLifecycle(header, LIFECYCLE_PREFERENCE_HEADER, storageDefaults.of(ownerId));
  const keptMs = times?.of(ownerId).artifactMs;
  const lifecycle = saysHowLong(header) ? wanted : lasting(wanted, keptMs);
  // Where files have a time, one that has none has a record that says so: what has no record goes when its
  // time has passed.
  return typeof keptMs === "number" || lifecycle.lifetimeSeconds !== undefined || lifecycle.acl
    ? lifecycle
    : undefined;
}

/** What of a job its model decides. */
const modelJob = (
  model: ModelVersion,
): Pick<JobSpec, "endpoint" | "version" | "taskQueue" | "modelDigest" | "price" | "retry" | "timeouts"> => ({
  endpoint: model.endpoint,
  version: model.version,
  taskQueue: taskQueueOf(model),
  modelDigest: model.digest,
  ...(model.price && { price: model.price }),
  retry: model.retry,
  timeouts: { heartbeatMs: model.timeouts.heartbeatMs, runMs: model.timeouts.runMs },
});

/** A job on its way into the queue. */
interface Queueing {
  /**
   * Milliseconds that Temporal took to accept it. Rejects with `temporal_unavailable`, and then it does not
   * run.
   */
  started: Promise<number>;
  /** The event log knows that it waits, or cannot be reached; never rejects. */
  announced: Promise<void>;
  /** It has ended: what is known of it then is its finish step's to record. */
  ended: () => void;
}

/**
 * Queues a job: the start goes out, then the word about it, without waiting for the start's answer.
 *
 * @param recordAfterMs when the row of the unfinished request is written; a job that ends sooner has one write less
 * @param claim the idempotency key that names it: one whose start is in doubt is left to the next call with that key, and of one that
 *   somebody else may be starting too nothing is said, since it may have gone on already
 */
export function queueJob(
  api: Pick<ApiDependencies, "jobs" | "events" | "requests" | "log">,
  { job, ignored, streamed = false, held }: Intake,
  { recordAfterMs = 0, claim }: { recordAfterMs?: number; claim?: { shared: boolean } | undefined } = {},
): Queueing {
  let recording: NodeJS.Timeout | undefined;
  const started = start();
  // The start leaves this process first: what it sets going takes longer than the word about it.
  const announced = claim?.shared ? Promise.resolve() : nextTurn().then(announce);
  return { started, announced, ended };

  function ended(): void {
    clearTimeout(recording);
    counted();
  }

  /** From now on it counts by the records. */
  function counted(): void {
    for (const each of held) each.recorded();
  }

  async function start(): Promise<number> {
    const startedAtMs = performance.now();
    try {
      await api.jobs.start(job);
    } catch (error) {
      for (const each of held) each.drop();
      if (!claim?.shared) void announced.then(() => api.events.drop(job)).catch(() => {});
      // The start may have reached Temporal although its answer did not reach us: nobody will ask for it, so
      // it must not run.
      if (!claim) void api.jobs.cancel(job.requestId).catch(() => {});
      throw error;
    }
    const startMs = performance.now() - startedAtMs;
    if (recordAfterMs > 0) recording = setTimeout(record, recordAfterMs).unref();
    else record();
    return startMs;
  }

  function record(): void {
    api.requests
      .insert(job)
      .catch((error) =>
        api.log.warn(
          { requestId: job.requestId, err: errorInfo(error) },
          "the request's row was not inserted; its finish step will",
        ),
      )
      .finally(counted);
  }

  /** Says in the event log that it waits. The log may be away. */
  async function announce(): Promise<void> {
    try {
      const appends = [api.events.append(job, { type: "queued", attempt: 0, ...(streamed && { streamed }) })];
      if (ignored.length > 0) {
        const names = ignored
          .map((name) => JSON.stringify(name.slice(0, 80)))
          .slice(0, 20)
          .join(", ");
        const message = `Ignored ${ignored.length === 1 ? "a field" : "fields"} this model does not know: ${names}`;
        appends.push(api.events.append(job, { type: "log", attempt: 0, level: "WARN", message }));
      }
      await Promise.all(appends);
    } catch (error) {
      api.log.warn(
        { requestId: job.requestId, err: errorInfo(error) },
        "the event log did not take the submit",
      );
    }
  }
}

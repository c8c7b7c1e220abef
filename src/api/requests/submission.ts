/**
 * Requests at the gateway: admitting a call (`admit-call.ts`), making its submission (this file, design §4,
 * step 1), queueing its job (`queue-job.ts`), finding it again (`find-request.ts`), idempotency
 * (`claim-request.ts`, `idempotent-write.ts`), and the view that hides what retention has expired
 * (`retention-view.ts`).
 */
import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { keptPrivate, type Lifecycle, withLifetime } from "../../core/files/lifecycle.ts";
import { withoutOwnSignatures } from "../../core/files/private-address.ts";
import { transientKey } from "../../core/files/transient.ts";
import type { Json } from "../../core/json/json.ts";
import { type ModelVersion, type RetryPolicy, taskQueueOf } from "../../core/models/model.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import {
  CACHE_HEADER,
  LIFECYCLE_PREFERENCE_HEADER,
  resolveLifecycle,
  setsLifetime,
  submitOptions,
  wantsCache,
} from "../../fal/index.ts";
import type { Route } from "../../registry/registry.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { inTurn } from "../http/body-share.ts";
import { requestIdOf } from "../http/request-id.ts";
import { RequestValues, type ValuePorts } from "../limits/request-values.ts";
import { Reservations } from "../limits/reservations.ts";
import { EXECUTION, openExecution } from "../pipelines/execution.ts";
import { PIPELINE_PRICE, pipelineJob } from "../pipelines/pipeline-job.ts";
import type { ClaimedRequest } from "./claim-request.ts";

/** The parts of an owner's limits that a call takes for its request, and gives back if it is not queued. */
export interface TakenParts {
  /** The limits that the request uses up until the stores have it. */
  reservations: Reservations;
  /** The values that are stored for the request. */
  values: RequestValues;
}

/** A checked request, not yet queued. */
export interface Submission extends TakenParts {
  job: JobSpec;
  /** Fields of the input that the model does not know. */
  ignored: string[];
  /** The caller streams it. */
  streamed?: boolean;
}

/**
 * Runs the steps between the claim of a request and its queueing. When one of them fails, gives back what was
 * taken for the request: the parts of its owner's limits, and the claim of its idempotency key.
 */
export async function prepareSubmission(
  api: ValuePorts,
  { caller, claim }: { caller: Pick<Caller, "ownerId">; claim: ClaimedRequest | undefined },
  prepare: (taken: TakenParts) => Promise<Submission>,
): Promise<Submission> {
  const taken = { reservations: new Reservations(), values: new RequestValues(api, caller.ownerId) };
  try {
    return await prepare(taken);
  } catch (error) {
    taken.reservations.release();
    taken.values.discard();
    if (claim && !claim.existing) claim.release();
    throw error;
  }
}

interface SubmissionInput {
  route: Route;
  caller: Caller;
  raw: Json;
  /** Gets a reservation of the request's price, and its values. */
  taken: TakenParts;
  /**
   * One attempt, as fal's synchronous runs have it: their callers wait, and retry themselves (contract §3).
   */
  direct?: boolean;
  /** The caller sees events, with previews where the model makes them and no flag forbids them. */
  streamed?: boolean;
}

/**
 * Makes a job of an input and of the headers that steer it. Nothing is queued yet.
 *
 * Rejects with `input_invalid`, with `store_unavailable` when a large input cannot be stored, with
 * `spend_limit` or `storage_limit`, and as `pipelineJob` does when a pipeline cannot be run.
 */
export async function readSubmission(
  api: Pick<
    ApiDependencies,
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
  { route: named, caller, raw: body, taken, direct = false, streamed = false }: SubmissionInput,
): Promise<Submission> {
  const { route, raw } =
    named === EXECUTION
      ? await openExecution(api.checkDefinition, caller, body)
      : { route: named, raw: body };
  const checked = await inTurn(c, () => route.checkInput(withoutOwnSignatures(raw, caller.ownerId)));
  if ("faults" in checked) throw new TemperaError("input_invalid", undefined, { faults: checked.faults });
  const { options, retryOf } = await readCallerOptions(api, c, caller, { direct });
  const { requestId, storeIo } = options;
  const { reservations, values } = taken;
  await api.limits.checkStorage(caller);
  reservations.add(await api.limits.reserveSpend(caller, route.model ? route.model.price : PIPELINE_PRICE));
  const work = route.model
    ? modelJob(route.model)
    : await pipelineJob(api, {
        pipeline: route.pipeline,
        requestId,
        caller,
        input: checked.input,
        values,
        cache: wantsCache(c.req.header(CACHE_HEADER)),
      });
  const input = await (storeIo === false
    ? values.storeApart(transientKey(requestId, "input"), checked.input)
    : values.store(`inputs/${requestId}.json`, checked.input));
  const job: JobSpec = {
    ...options,
    input,
    submittedAtMs: api.clock.nowMs(),
    ...(checked.ignored.length > 0 && { logged: true }),
    ...(streamed && api.flags.isOn("behaviour", "previews", caller.ownerId) && { previews: true }),
    ...work,
    retry: retryOf(work.retry),
  };
  return { job, ignored: checked.ignored, streamed, ...taken };
}

/** The part of a job that its caller decides: by who it is, and by the headers. */
type CallerOptions = Pick<
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
 * Reads what the caller of a job wants beside its input; `retryOf` applies that to a model's retry policy.
 * Rejects with `input_invalid`.
 *
 * @param direct one attempt, in a concurrency slot that is acquired before it starts
 */
export async function readCallerOptions(
  api: Pick<ApiDependencies, "limits" | "storageDefaults" | "times">,
  c: Context,
  caller: Caller,
  { direct = false }: { direct?: boolean } = {},
): Promise<{ options: CallerOptions; retryOf: (policy: RetryPolicy) => RetryPolicy }> {
  const { weight, inProgress, privateFiles } = (await api.limits.of(caller)).owner;
  const lifecycle = outputLifecycle(api, c.req.header(LIFECYCLE_PREFERENCE_HEADER), {
    ownerId: caller.ownerId,
    isPrivate: privateFiles === true,
  });
  const { priority, startTimeoutMs, noRetry, retryLimits, storeIo } = submitOptions((name) =>
    c.req.header(name),
  );
  return {
    options: {
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
 * Chooses the lifecycle of what a job produces: its caller's preference, else its owner's default, else that
 * of the owner's plan and the installation's retention time. `undefined` means kept for ever and readable by
 * everybody; such files need no record.
 */
function outputLifecycle(
  { storageDefaults, times }: Pick<ApiDependencies, "storageDefaults" | "times">,
  header: string | undefined,
  { ownerId, isPrivate }: { ownerId: string; isPrivate: boolean },
): Lifecycle | undefined {
  const requested = resolveLifecycle(header, LIFECYCLE_PREFERENCE_HEADER, storageDefaults.of(ownerId));
  const wanted = isPrivate ? keptPrivate(requested) : requested;
  const keptMs = times?.of(ownerId).artifactMs;
  const lifecycle = setsLifetime(header) ? wanted : withLifetime(wanted, keptMs);
  // Where files have a retention time, a file without a record is deleted when that has passed. So a file
  // that is kept for ever needs a record that says so.
  return typeof keptMs === "number" || lifecycle.lifetimeSeconds !== undefined || lifecycle.acl
    ? lifecycle
    : undefined;
}

/** Makes the part of a job that its model decides. */
function modelJob(
  model: ModelVersion,
): Pick<JobSpec, "endpoint" | "version" | "taskQueue" | "modelDigest" | "price" | "retry" | "timeouts"> {
  return {
    endpoint: model.endpoint,
    version: model.version,
    taskQueue: taskQueueOf(model),
    modelDigest: model.digest,
    ...(model.price && { price: model.price }),
    retry: model.retry,
    timeouts: { heartbeatMs: model.timeouts.heartbeatMs, runMs: model.timeouts.runMs },
  };
}

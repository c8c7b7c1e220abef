/**
 * A job is the Temporal workflow that runs a request until its outcome. `JobSpec` is its whole input;
 * durations are part of it, so that they can be short in tests. Workflow code imports this: types and pure
 * functions only.
 */

import type { Lifecycle } from "../files/lifecycle.ts";
import type { JsonObject, Stored } from "../json/json.ts";
import type { ModelTimeouts, Price, RetryPolicy } from "../models/model.ts";
import type { PipelinePart } from "../pipelines/pipeline.ts";
import type { Webhook } from "../webhooks/webhook.ts";
import type { Outcome, RequestIdentity } from "./request.ts";

export const ORCHESTRATOR_QUEUE = "orchestrator";

/**
 * The earlier attempts of a job whose inference activity is called anew after a hand-over by a GPU worker.
 */
export interface PreviousAttempts {
  attempts: number;
  /** The part of `attempts` that was handed over; the retry policy does not count it. */
  handOvers: number;
  /** True once an attempt has reached an engine: the start deadline no longer applies. */
  started: boolean;
  /** The hand-overs because of a store, and how long the job waited for stores. Absent: they count. */
  storeWaits?: StoreWaits;
}

/** The hand-overs of a job because a store took no writes or was away. */
export interface StoreWaits {
  times: number;
  /** Time of all of these waits, within attempts and between them, in milliseconds. */
  waitedMs: number;
}

/**
 * The third detail of the failure of an attempt that was handed over. The next attempt is a new activity,
 * because Temporal counts the attempts of an activity by itself.
 */
export interface HandOver {
  handedOver: true;
  started: boolean;
  /** Present when a store was the reason: the pause before the next attempt, and all waits so far. */
  storeWait?: { delayMs: number; storeWaits: StoreWaits };
}

/**
 * The third detail of the failure of an attempt whose job has waited for a store for as long as it may, or
 * whose input is quarantined for what its attempts did.
 */
export interface StoreGivenUp {
  exhausted: true;
}

/**
 * The input of a job. The job of a pipeline's `node` is an activity of the pipeline's workflow, not a
 * workflow of its own. The field names are recorded in workflow histories and must not change.
 */
export interface JobSpec extends RequestIdentity {
  keyId: string;
  modelDigest: string;
  input: Stored<JsonObject>;
  submittedAtMs: number;
  /** The submit itself wrote lines to the request's log. */
  logged?: boolean;
  /** Start deadline, from the submit; absent: none. Set by `X-Fal-Request-Timeout`. */
  startTimeoutMs?: number;
  /** The webhook that gets the outcome; absent: none. */
  webhook?: Webhook;
  /** The request whose dead letter this one retries. */
  retryOf?: string;
  /** A call that waits for the outcome started it and retries by itself, so it leaves no dead letter. */
  direct?: boolean;
  /** Weight of its owner in the GPU queue; absent: 1. */
  weight?: number;
  /**
   * Present when its owner has a limited number of concurrency slots: the job `waits` for a slot before it
   * goes to the GPU queue, or `holds` one since its submit.
   */
  place?: "waits" | "holds";
  /** The caller streams it and gets previews. */
  previews?: boolean;
  /** Lifetime and readers of the files that it produces; absent: for ever, and everybody who has the URL. */
  lifecycle?: Lifecycle;
  /** Present for pipelines, whose workflow type is `pipeline`. */
  pipeline?: PipelinePart;
  /** Only for nodes: an earlier result of the same owner and input may be reused, and this one is stored. */
  cache?: boolean;
  /** Price of the model at the time of the submit; absent: free of charge. */
  price?: Price;
  /** False: input and output are stored apart from all records, only until delivery (`X-Fal-Store-IO: 0`). */
  storeIo?: false;
  retry: RetryPolicy;
  timeouts: Pick<ModelTimeouts, "heartbeatMs" | "runMs">;
}

/** Search attributes by which operators filter jobs in the Temporal UI (see `temporal/README.md`). */
export const SEARCH_ATTRIBUTES = {
  endpoint: "TemperaEndpoint",
  version: "TemperaVersion",
  owner: "TemperaOwner",
} as const;

/** Temporal's priority keys: 1 is first, 5 is last. */
export const PRIORITY_KEY = { normal: 3, low: 5 } as const;

/**
 * Lists the keys of objects that the record of a job refers to. Strings in a caller's own values do not
 * count.
 */
export function refsOf(
  { input, pipeline }: Pick<JobSpec, "input" | "pipeline">,
  outcome?: Outcome,
): string[] {
  const named: (Stored<unknown> | undefined)[] = [input, pipeline?.plan, pipeline?.callees, pipeline?.kept];
  if (outcome?.ok) named.push(outcome.output);
  // Results that this run reuses belong to the request that produced them.
  if (pipeline?.kept && "inline" in pipeline.kept)
    named.push(...Object.values(pipeline.kept.inline).map(({ output }) => output));
  return [
    ...new Set([
      ...named.flatMap((stored) => (stored && "ref" in stored ? [stored.ref] : [])),
      ...(pipeline?.keptRefs ?? []),
      ...(pipeline?.overridesRef === undefined ? [] : [pipeline.overridesRef]),
    ]),
  ];
}

/**
 * Returns the order of a job in Temporal: by priority first, then fairly between owners, by their weights.
 */
export function priorityOf({ priority, ownerId, weight }: Pick<JobSpec, "priority" | "ownerId" | "weight">) {
  return {
    priorityKey: PRIORITY_KEY[priority],
    fairnessKey: ownerId.slice(0, 64),
    ...(weight !== undefined && { fairnessWeight: weight }),
  };
}

/**
 * A job is the Temporal workflow that carries a request to its outcome. `JobSpec` is all it is given: data,
 * so that every duration can be short in a test. Imported by workflow code: types and pure functions only.
 */

import type { Lifecycle } from "../files/lifecycle.ts";
import type { JsonObject, Stored } from "../json/json.ts";
import type { ModelTimeouts, Price, RetryPolicy } from "../models/model.ts";
import type { PipelinePart } from "../pipelines/pipeline.ts";
import type { Webhook } from "../webhooks/webhook.ts";
import type { Outcome, RequestIdentity } from "./request.ts";

export const ORCHESTRATOR_QUEUE = "orchestrator";

/**
 * What a job has behind it when its inference activity is called once more, since a GPU worker let go of it.
 */
export interface AttemptsBefore {
  attempts: number;
  /** Those of them that a worker let go of; they count for nothing in the retry policy. */
  handOvers: number;
  /** Whether any of them has reached an engine: from then on there is no time to start any more. */
  started: boolean;
}

/**
 * Third detail of the failure of such an attempt. The next one is a new activity, since Temporal counts the
 * attempts of one by itself.
 */
export interface HandOver {
  handedOver: true;
  started: boolean;
}

/**
 * What a request asks for. One that is a `node` of a pipeline is an activity of that pipeline's workflow, and
 * no workflow of its own.
 */
export interface JobSpec extends RequestIdentity {
  keyId: string;
  modelDigest: string;
  input: Stored<JsonObject>;
  submittedAtMs: number;
  /** The submit itself left lines in the request's log. */
  logged?: boolean;
  /** Time to start, from submit; absent means as long as it takes. Set by `X-Fal-Request-Timeout`. */
  startTimeoutMs?: number;
  /** Whom to tell when it has ended; absent: nobody. */
  webhook?: Webhook;
  /** The request whose dead letter this one tries again. */
  retryOf?: string;
  /** A call that waits for it started it, and tries again itself: it leaves no dead letter. */
  direct?: boolean;
  /** Its owner's share of the GPU queue, beside other owners'; absent: 1. */
  weight?: number;
  /**
   * Its owner may run so many at once only: it `waits` for a place before it goes to the GPU queue, or
   * `holds` one from its submit on.
   */
  place?: "waits" | "holds";
  /** Somebody streams it and is shown previews. */
  previews?: boolean;
  /**
   * How long the files it produces are kept, and who may read them; absent: for ever, by everybody who has
   * the address.
   */
  lifecycle?: Lifecycle;
  /** Present when it is a pipeline's; its workflow type is then `pipeline`. */
  pipeline?: PipelinePart;
  /**
   * The result may be an earlier one of the same owner and the same input, and is kept for later ones. Nodes
   * only.
   */
  cache?: boolean;
  /** What the model cost at submit; absent: nothing. */
  price?: Price;
  /**
   * False: input and output are kept apart from every record, for as long as it takes to deliver them
   * (`X-Fal-Store-IO: 0`).
   */
  storeIo?: false;
  retry: RetryPolicy;
  timeouts: Pick<ModelTimeouts, "heartbeatMs" | "runMs">;
}

/** What an operator can filter jobs by in the Temporal UI. `temporal/README.md` says how they are created. */
export const SEARCH_ATTRIBUTES = {
  endpoint: "TemperaEndpoint",
  version: "TemperaVersion",
  owner: "TemperaOwner",
} as const;

/** Temporal's priority keys: 1 is soonest, 5 last (temporal-notes §2). */
export const PRIORITY_KEY = { normal: 3, low: 5 } as const;

/**
 * Keys in the object store that the record of a job names. What stands inside of a caller's own values is
 * none.
 */
export function refsOf(
  { input, pipeline }: Pick<JobSpec, "input" | "pipeline">,
  outcome?: Outcome,
): string[] {
  const named: (Stored<unknown> | undefined)[] = [input, pipeline?.plan, pipeline?.callees, pipeline?.kept];
  if (outcome?.ok) named.push(outcome.output);
  // What an earlier run kept for this one is still the earlier one's.
  if (pipeline?.kept && "inline" in pipeline.kept)
    named.push(...Object.values(pipeline.kept.inline).map(({ output }) => output));
  return [
    ...new Set([
      ...named.flatMap((stored) => (stored && "ref" in stored ? [stored.ref] : [])),
      ...(pipeline?.keptRefs ?? []),
    ]),
  ];
}

/**
 * How Temporal is to order a job among the others: first by priority, then by turns of owners, as their
 * weights have it.
 */
export const priorityOf = ({
  priority,
  ownerId,
  weight,
}: Pick<JobSpec, "priority" | "ownerId" | "weight">) => ({
  priorityKey: PRIORITY_KEY[priority],
  fairnessKey: ownerId.slice(0, 64),
  ...(weight !== undefined && { fairnessWeight: weight }),
});

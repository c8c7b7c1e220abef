/**
 * The values of a pipeline (inputs, outputs, plans). A small value travels inline; a large one lies in the
 * object store until workflow code reads it.
 */
import { proxyActivities } from "@temporalio/workflow";
import type { PipelineActivities } from "../activities/index.ts";
import { Semaphore } from "../core/concurrency/semaphore.ts";
import { transientKey } from "../core/files/transient.ts";
import { writeJson } from "../core/json/exact-json.ts";
import type { JsonObject, Stored } from "../core/json/json.ts";
import { isLongerThan } from "../core/json/json-bounds.ts";
import { LIMITS } from "../core/limits.ts";
import { standInsOf } from "../core/pipelines/stand-ins.ts";
import { type JobSpec, ORCHESTRATOR_QUEUE } from "../core/requests/job.ts";
import { pipelineFailure } from "./pipeline-errors.ts";

/** The activities for large values. These steps are rare, so each is retried until the store is available. */
export function valueActivities(summary: string): PipelineActivities {
  return proxyActivities<PipelineActivities>({
    taskQueue: ORCHESTRATOR_QUEUE,
    startToCloseTimeout: "60s",
    retry: { initialInterval: "500ms", backoffCoefficient: 1.5, maximumInterval: "10s" },
    summary,
  });
}

/**
 * Values stored at once: the arguments of several `storeValue` calls in one workflow task could exceed
 * Temporal's limit for a message. Values that are read arrive in messages of their own.
 */
const STORES_AT_ONCE = 1;
const READS_AT_ONCE = 4;

/** The request that a value belongs to. */
export interface ValueOwner {
  requestId: string;
  what: "input" | "output";
  /** Names the value in errors: `the output of the node a`. */
  label: string;
}

/**
 * Reads and stores the values of one run of a pipeline.
 *
 * Large values pass through Temporal, which terminates a workflow whose history or messages grow too large.
 * Therefore each value has a size limit, and so have all of them together. Every method throws
 * `pipeline_limit` for a value over either limit.
 */
export class PipelineValues {
  readonly #unstored: boolean;
  readonly #stores = new Semaphore(STORES_AT_ONCE);
  readonly #reads = new Semaphore(READS_AT_ONCE);
  /** The stored values that were read, whose long texts may have stand-ins. */
  readonly #read = new Set<string>();
  #passedBytes = 0;

  constructor({ storeIo }: Pick<JobSpec, "storeIo">) {
    this.#unstored = storeIo === false;
  }

  /** Returns the value itself; of a large one, the long texts are replaced by stand-ins. */
  load<T>(stored: Stored<T>, label: string): Promise<T> {
    if ("ref" in stored) this.#read.add(stored.ref);
    return this.#load(stored, label, { bytesMax: LIMITS.pipelineValueBytesMax, standIns: true });
  }

  /** Returns a plan or another part of the job, which is read whole. */
  loadPlan<T>(stored: Stored<T>, label: string): Promise<T> {
    return this.#load(stored, label, { bytesMax: LIMITS.pipelinePlanBytesMax });
  }

  async #load<T>(
    stored: Stored<T>,
    label: string,
    limits: { bytesMax: number; standIns?: boolean },
  ): Promise<T> {
    if ("inline" in stored) return stored.inline;
    const release = await this.#reads.acquire();
    try {
      this.#count(0, label);
      const { ref } = stored;
      const value = await valueActivities(`read ${label}`).loadValue({ ref, what: label, ...limits });
      this.#count(writeJson(value).length, label);
      return value as T;
    } finally {
      release();
    }
  }

  /** Returns the value as it travels. `core/files/stored-value.ts` does the same outside of workflows. */
  async store(value: JsonObject, { requestId, what, label }: ValueOwner): Promise<Stored<JsonObject>> {
    this.assertSize(value, label);
    const json = writeJson(value);
    const bytes =
      json.length * 3 <= LIMITS.inlineBytesMax ? json.length : new TextEncoder().encode(json).length;
    if (bytes > LIMITS.pipelineMadeBytesMax) throw tooLarge(label);
    const refs = this.#read.size > 0 ? standInsOf(value, this.#read) : [];
    const standIns = refs.length > 0 && { standIns: refs };
    // No record may hold the values of a request with `storeIo: false`, not even small ones.
    if (this.#unstored) {
      const key = transientKey(requestId, what);
      return this.#put(value, { key, apart: true, ...standIns }, bytes, label);
    }
    if (bytes <= LIMITS.inlineBytesMax && !standIns) return { inline: value };
    const folder = what === "input" ? "inputs" : "outcomes";
    return this.#put(value, { key: `${folder}/${requestId}.json`, ...standIns }, bytes, label);
  }

  /** Returns the plan of a pipeline that a node calls, as it travels. */
  async storePlan(plan: JsonObject, requestId: string): Promise<Stored<JsonObject>> {
    const bytes = new TextEncoder().encode(writeJson(plan)).length;
    if (bytes <= LIMITS.inlineBytesMax) return { inline: plan };
    return this.#put(
      plan,
      { key: `inputs/${requestId}-plan.json` },
      bytes,
      "the plan of a pipeline that it calls",
    );
  }

  /** Throws for a value that is too large, without serialising it. */
  assertSize(value: JsonObject, label: string): void {
    if (isLongerThan(value, LIMITS.pipelineMadeBytesMax)) throw tooLarge(label);
  }

  async #put(
    value: JsonObject,
    target: { key: string; apart?: true; standIns?: string[] },
    bytes: number,
    label: string,
  ): Promise<Stored<JsonObject>> {
    const release = await this.#stores.acquire();
    try {
      this.#count(bytes, label);
      return await valueActivities(`store ${target.key}`).storeValue({ ...target, value });
    } finally {
      release();
    }
  }

  /** Adds to the bytes that passed through Temporal, and throws when they are too many. */
  #count(bytes: number, label: string): void {
    this.#passedBytes += bytes;
    if (this.#passedBytes <= LIMITS.pipelinePassedBytesMax) return;
    throw pipelineFailure(
      "pipeline_limit",
      `With ${label}, the pipeline has handled ${this.#passedBytes} bytes in values of more than ` +
        `${LIMITS.inlineBytesMax} bytes each, and the limit is ${LIMITS.pipelinePassedBytesMax}. ${REMEDY}`,
    );
  }
}

const REMEDY = "Pass large files by their addresses.";

const tooLarge = (label: string) =>
  pipelineFailure(
    "pipeline_limit",
    `A value of a pipeline may have ${LIMITS.pipelineMadeBytesMax} bytes, and ${label} is larger. ${REMEDY}`,
  );

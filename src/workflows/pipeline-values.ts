/**
 * Values of a pipeline: what is small travels inline, what is large lies in the object store until somebody
 * looks into it.
 */
import { proxyActivities } from "@temporalio/workflow";
import type { PipelineActivities } from "../activities/index.ts";
import { type JobSpec, ORCHESTRATOR_QUEUE } from "../core/requests/job.ts";
import type { JsonObject, Stored } from "../core/json/json.ts";
import { isLongerThan } from "../core/json/json-bounds.ts";
import { LIMITS } from "../core/limits.ts";
import { transientKey } from "../core/files/stored-value.ts";
import { pipelineFault } from "./pipeline-errors.ts";
import { createTurns } from "./semaphore.ts";

/** Rare steps, so each is an activity that tries until the store is back. */
export const valueActivities = (summary: string): PipelineActivities =>
  proxyActivities<PipelineActivities>({
    taskQueue: ORCHESTRATOR_QUEUE,
    startToCloseTimeout: "60s",
    retry: { initialInterval: "500ms", backoffCoefficient: 1.5, maximumInterval: "10s" },
    summary,
  });

/**
 * Several at once would be more than one message to Temporal may hold: those that are read come in messages
 * of their own.
 */
const PUT_AT_ONCE = 1;
const READ_AT_ONCE = 4;

/** A value that is put away, and whose it is. */
export interface Made {
  requestId: string;
  what: "input" | "output";
  /** In words, for who is told that it is too large. */
  called: string;
}

/**
 * What one pipeline reads and puts away. Large values pass through Temporal, which ends a workflow whose
 * history or messages outgrow it without asking it: each has a limit, and all of them together. Everything
 * throws `pipeline_limit` for what is over either.
 */
export interface PipelineValues {
  /** The value itself. */
  load<T>(stored: Stored<T>, called: string, bytesMax?: number): Promise<T>;
  /** As it travels: `core/stored.ts` does the same where there is an object store at hand. */
  keep(value: JsonObject, made: Made): Promise<Stored<JsonObject>>;
  /** The plan of a pipeline that a node calls. */
  keepPlan(plan: JsonObject, requestId: string): Promise<Stored<JsonObject>>;
  /** Refuses what is too large to be made, before anybody writes it out. */
  refuseLarge(value: JsonObject, called: string): void;
}

export function createPipelineValues({ storeIo }: Pick<JobSpec, "storeIo">): PipelineValues {
  const puts = createTurns(PUT_AT_ONCE);
  const reads = createTurns(READ_AT_ONCE);
  let passed = 0;

  function pass(bytes: number, called: string): void {
    passed += bytes;
    if (passed <= LIMITS.pipelinePassedBytesMax) return;
    throw pipelineFault(
      "pipeline_limit",
      `With ${called}, the pipeline has handled ${passed} bytes in values of more than ${LIMITS.inlineBytesMax} each; at most ${LIMITS.pipelinePassedBytesMax} are handled. ${REMEDY}`,
    );
  }

  async function put(
    value: JsonObject,
    to: { key: string; apart?: true },
    bytes: number,
    called: string,
  ): Promise<Stored<JsonObject>> {
    await puts.take();
    try {
      pass(bytes, called);
      return await valueActivities(`put away ${to.key}`).storeValue({ ...to, value });
    } finally {
      puts.give();
    }
  }

  return {
    async load<T>(
      stored: Stored<T>,
      called: string,
      bytesMax: number = LIMITS.pipelineValueBytesMax,
    ): Promise<T> {
      if ("inline" in stored) return stored.inline;
      await reads.take();
      try {
        pass(0, called);
        const value = (await valueActivities(`read ${called}`).loadValue({
          ref: stored.ref,
          bytesMax,
          what: called,
        })) as T;
        pass(JSON.stringify(value).length, called);
        return value;
      } finally {
        reads.give();
      }
    },

    async keep(value, { requestId, what, called }) {
      refuseLarge(value, called);
      const json = JSON.stringify(value);
      const apart = storeIo === false;
      const bytes =
        json.length * 3 <= LIMITS.inlineBytesMax ? json.length : new TextEncoder().encode(json).length;
      if (bytes > LIMITS.pipelineMadeBytesMax) throw tooLarge(called);
      // What is not to be stored is in no record, however small it is.
      if (apart) return put(value, { key: transientKey(requestId, what), apart }, bytes, called);
      if (bytes <= LIMITS.inlineBytesMax) return { inline: value };
      return put(
        value,
        { key: `${what === "input" ? "inputs" : "outcomes"}/${requestId}.json` },
        bytes,
        called,
      );
    },

    async keepPlan(plan, requestId) {
      const bytes = new TextEncoder().encode(JSON.stringify(plan)).length;
      if (bytes <= LIMITS.inlineBytesMax) return { inline: plan };
      return put(
        plan,
        { key: `inputs/${requestId}-plan.json` },
        bytes,
        "the plan of a pipeline that it calls",
      );
    },

    refuseLarge,
  };
}

function refuseLarge(value: JsonObject, called: string): void {
  if (isLongerThan(value, LIMITS.pipelineMadeBytesMax)) throw tooLarge(called);
}

const REMEDY = "Pass large files by their addresses.";

const tooLarge = (called: string) =>
  pipelineFault(
    "pipeline_limit",
    `A pipeline may make values of ${LIMITS.pipelineMadeBytesMax} bytes, and ${called} is larger. ${REMEDY}`,
  );

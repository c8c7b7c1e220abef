import { ApplicationFailure, CancelledFailure, Context } from "@temporalio/activity";
import { type Engines, RunHandedOver } from "../../core/engines/engine.ts";
import { CATALOGUE, type ErrorCode } from "../../core/errors/catalogue.ts";
import { type ErrorInfo, errorInfo } from "../../core/errors/tempera-error.ts";
import type { AttemptsBefore, HandOver, JobSpec } from "../../core/requests/job.ts";
import type { JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { RetryCondition, RetryPolicy } from "../../core/models/model.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import type { FileStore } from "../../core/files/file-store.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";
import type { RequestStore } from "../../core/requests/request-store.ts";
import type { Outcome } from "../../core/requests/request.ts";
import { retrieve, store, storeApart, transientKey } from "../../core/files/stored-value.ts";
import { unitsMade } from "../../core/owners/usage.ts";
import { createArtifactSink } from "./artifact-sink.ts";
import type { CheckNode } from "../pipelines/check-node.ts";
import { createCheckpointKeeper } from "./checkpoint-keeper.ts";
import { createEventWriter } from "./event-writer.ts";
import type { FetchInput } from "./input-files.ts";
import type { NodeCache, NodeMaking } from "../pipelines/node-cache.ts";
import type { createRecordOutcome } from "./record-outcome.ts";
import type { RunningRequests } from "./running-requests.ts";

export interface InferDependencies {
  /** The pool that runs models on this worker's device. */
  engines: Engines;
  events: EventLog;
  /** Asked by a retried attempt, for an outcome that the event log has lost. */
  requests: Pick<RequestStore, "find">;
  objects: ObjectStore;
  /** The records of files that are produced with a lifecycle. */
  files: Pick<FileStore, "begin" | "claim" | "store">;
  clock: Clock;
  /** Cancels announced through the event log, milliseconds after the caller's word. */
  running: RunningRequests;
  /** Checks what a pipeline's workflow gave to a node. */
  checkNode: CheckNode;
  /** Gets the files that an input names. */
  fetchInput: FetchInput;
  /** Earlier results of nodes. */
  nodeCache: Pick<NodeCache, "open">;
  /** The finish step, taken here when the model gave its output. */
  recordOutcome: ReturnType<typeof createRecordOutcome>;
  /** Base of the URLs artifacts are served at. */
  publicUrl: string;
}

export interface InferResult {
  outcome: Outcome;
  attempt: number;
  startedAtMs?: number;
  /** The outcome stands in Postgres already: there is nothing left for the finish step to do. */
  recorded?: boolean;
}

/** The longest that a timer of Node's lasts; one that is set for longer goes off at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/**
 * The inference activity: one attempt of one request on this worker's engine (design §4, step 3).
 *
 * Returns the outcome when the model gave its output. Throws an `ApplicationFailure` whose type is a code of
 * the error catalogue and whose details are the `ErrorInfo` and the attempt; Temporal retries it unless the
 * code is not retryable. Artifacts are stored before the outcome names them; a retried attempt returns an
 * outcome that already stands, else it goes on from the last checkpoint. When this worker lets go of the
 * attempt, the failure carries a `HandOver`, unless the job is for one attempt only.
 *
 * @param before what other activities of this job have done; a workflow that does not say counts hand-overs as any attempt
 */
export const createInfer = ({
  engines,
  events,
  requests,
  objects,
  files,
  clock,
  running,
  checkNode,
  fetchInput,
  nodeCache,
  recordOutcome,
  publicUrl,
}: InferDependencies) =>
  async function infer(job: JobSpec, before?: AttemptsBefore): Promise<InferResult> {
    const context = Context.current();
    const attempt = (before?.attempts ?? 0) + context.info.attempt;
    /** Attempts of the retry policy, this one included. */
    const counted = attempt - (before?.handOvers ?? 0);
    if (attempt > 1) {
      const standing =
        (await events.outcome(job.requestId).catch(() => undefined))?.outcome ??
        (await requests.find(job.requestId).catch(() => undefined))?.outcome;
      if (standing?.ok) return { outcome: standing, attempt };
      if (standing) throw failure(standing.error, attempt, false);
    }

    const writer = createEventWriter(events, job, (message) => context.log.warn(message));
    const cancel = running.track(job.requestId, ...(job.node ? [job.node.pipelineId] : []));
    const late = new AbortController();
    const signal = AbortSignal.any([cancel.signal, context.cancellationSignal, late.signal]);
    // A request whose engine is still loading has not started; Temporal's own deadline ended when this worker
    // took the task.
    const untilStartMs =
      job.startTimeoutMs === undefined ? undefined : job.submittedAtMs + job.startTimeoutMs - clock.nowMs();
    const begun = before?.started === true || context.info.attempt > 1;
    const deadline =
      untilStartMs === undefined || begun
        ? undefined
        : setTimeout(() => late.abort(), Math.min(Math.max(0, untilStartMs), TIMER_MS_MAX));
    const checkpoints = createCheckpointKeeper(objects, job.requestId, (message) =>
      context.log.warn(message),
    );
    let progress: { step: number; steps: number } | undefined;
    // What is kept under which step is for people who look at the attempt; the next one finds it by its key.
    const beat = () =>
      context.heartbeat(
        progress && { ...progress, ...(checkpoints.step !== undefined && { checkpoint: checkpoints.step }) },
      );
    const heartbeat = setInterval(beat, Math.max(200, job.timeouts.heartbeatMs / 4));
    let startedAtMs: number | undefined;
    let making: NodeMaking | undefined;
    try {
      const given = await retrieve<JsonObject>(objects, job.input);
      const asked = job.node
        ? checkNode(job, given, (message) => writer.write({ type: "log", attempt, level: "WARN", message }))
        : given;
      await using fetched = await fetchInput(asked, job.ownerId, signal);
      const { input } = fetched;
      // What comes as a data URI is stored nowhere.
      const turn =
        job.cache && input.sync_mode !== true ? await nodeCache.open(job, fetched, signal) : undefined;
      const earlier = turn && "output" in turn ? turn.output : undefined;
      // An attempt that is tried again may find what the one before it made.
      const cache = turn && "output" in turn && turn.madeBy !== job.requestId ? "hit" : "miss";
      making = turn && "made" in turn ? turn : undefined;
      const checkpoint = attempt > 1 ? await checkpoints.find() : undefined;
      const warn = (message: string) => context.log.warn(message);
      const sink = createArtifactSink({
        objects,
        files,
        clock,
        publicUrl,
        job,
        inline: input.sync_mode === true,
        warn,
      });
      const result = earlier
        ? undefined
        : await engines.run(
            {
              requestId: job.requestId,
              attempt,
              endpoint: job.endpoint,
              version: job.version,
              input,
              files: fetched.files,
              ...(checkpoint && { checkpoint }),
            },
            {
              started: (worker) => {
                startedAtMs = clock.nowMs();
                clearTimeout(deadline);
                writer.write({ type: "started", attempt, worker });
              },
              log: (level, message) => writer.write({ type: "log", attempt, level, message }),
              progress: (step, steps, remainingMs) => {
                progress = { step, steps };
                writer.write({
                  type: "progress",
                  attempt,
                  step,
                  steps,
                  ...(remainingMs !== undefined && { remainingMs }),
                });
              },
              ...(job.previews && {
                preview: (step: number, contentType: string, data: Uint8Array) => {
                  if (data.length > LIMITS.previewBytesMax) return;
                  writer.write({
                    type: "preview",
                    attempt,
                    step,
                    contentType,
                    data: Buffer.from(data).toString("base64"),
                  });
                },
              }),
              checkpoint: checkpoints.take,
              artifact: sink.take,
            },
            signal,
          );
      // An earlier one becomes this request's own: who deletes the other's payloads does not delete these.
      const value = earlier
        ? await retrieve<JsonObject>(objects, earlier)
        : sink.resolve(result?.output ?? {});
      const output = await (job.storeIo === false
        ? storeApart(objects, transientKey(job.requestId, "output"), value)
        : store(objects, `outcomes/${job.requestId}.json`, value));
      const outcome: Outcome = {
        ok: true,
        output,
        ...(job.price && { units: unitsMade(job.price.unit, value, { cache, ...result }) }),
        metrics: {
          inference_time: Math.round(result?.inferenceMs ?? 0) / 1000,
          queue_time: Math.max(0, (startedAtMs ?? clock.nowMs()) - job.submittedAtMs) / 1000,
        },
        ...(job.node && { cache }),
      };
      const kept = making?.made(output, sink.urls());
      const standing = await writer.complete(outcome);
      const started = startedAtMs === undefined ? {} : { startedAtMs };
      // The caller has its answer; the record is written here when the stores allow, which spares the job a
      // step.
      void checkpoints.drop();
      const settled = writer.announced && !writer.logged && !job.logged && attempt === 1;
      const recorded = await recordOutcome({
        job,
        outcome: standing,
        attempts: attempt,
        ...started,
        settled,
        checkpointed: false,
        exhausted: false,
      }).catch((error) => {
        context.log.warn(`the outcome was not recorded, the finish step will: ${String(error)}`);
        return undefined;
      });
      await kept;
      return { outcome: recorded ?? standing, attempt, ...started, recorded: recorded !== undefined };
    } catch (error) {
      await making?.gaveUp();
      if (context.cancellationSignal.aborted && !context.cancellationDetails?.workerShutdown) {
        // An attempt that Temporal gave up is not the job's end: its successor goes on from what it kept.
        if (context.cancellationDetails?.cancelRequested) void checkpoints.drop();
        throw new CancelledFailure("The request was cancelled.");
      }
      const shutDown = signal.aborted && !cancel.signal.aborted && !late.signal.aborted;
      const info: ErrorInfo = late.signal.aborted
        ? { code: "startup_timeout", message: CATALOGUE.startup_timeout.says }
        : shutDown
          ? {
              code: "runner_disconnected",
              message: "The GPU worker was shut down before the request was done.",
            }
          : requestError(errorInfo(error, "runner_server_error"), (message) => context.log.error(message));
      const retryable =
        CATALOGUE[info.code].retryable &&
        !late.signal.aborted &&
        counted <= retriesAllowed(job.retry, info.code);
      // Nothing has failed: a worker that is stopped or drained, however often, uses no attempt up.
      const handedOver =
        retryable &&
        (shutDown || error instanceof RunHandedOver) &&
        job.retry.attemptsMax > 1 &&
        before !== undefined &&
        before.handOvers < LIMITS.handOversMax;
      const goesOn = handedOver || (retryable && counted < job.retry.attemptsMax);
      if (goesOn) {
        writer.write({
          type: "log",
          attempt,
          level: "WARN",
          message: `Attempt ${attempt} failed: ${info.message.replace(/\.?$/, ".")} Trying again.`,
        });
        writer.write({ type: "queued", attempt, reason: info });
      }
      if (goesOn) await checkpoints.settled();
      else void checkpoints.drop();
      await writer.drained();
      const handOver: HandOver | undefined = handedOver
        ? { handedOver, started: begun || startedAtMs !== undefined }
        : undefined;
      throw failure(info, attempt, retryable, handOver);
    } finally {
      clearInterval(heartbeat);
      clearTimeout(deadline);
      cancel[Symbol.dispose]();
    }
  };

const failure = (
  info: ErrorInfo,
  attempt: number,
  retryable: boolean,
  handOver?: HandOver,
): ApplicationFailure =>
  ApplicationFailure.create({
    type: info.code,
    message: info.message,
    nonRetryable: !retryable || handOver !== undefined,
    details: [info, attempt, ...(handOver ? [handOver] : [])],
  });

/**
 * Retries that the caller allows after a failure of this kind. Attempts are counted whatever failed in them.
 */
const retriesAllowed = ({ limits }: RetryPolicy, code: ErrorCode): number =>
  limits?.[conditionOf(code)] ?? Number.POSITIVE_INFINITY;

const conditionOf = (code: ErrorCode): RetryCondition =>
  code === "request_timeout" || code === "runner_connection_timeout"
    ? "timeout"
    : code.startsWith("runner_connection") || code === "runner_disconnected"
      ? "connection_error"
      : "server_error";

/**
 * A store that failed on the way is our own trouble: callers get the contract's request error, operators the
 * whole sentence.
 */
function requestError(info: ErrorInfo, tell: (message: string) => void): ErrorInfo {
  if (CATALOGUE[info.code].kind !== "gateway") return info;
  tell(info.message);
  return { code: "internal_error", message: CATALOGUE.internal_error.says };
}

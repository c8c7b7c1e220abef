import { ApplicationFailure, CancelledFailure, type Context } from "@temporalio/activity";
import {
  type EngineListener,
  type EngineResult,
  RunHandedOver,
  RunTurnedAway,
} from "../../core/engines/engine.ts";
import { CATALOGUE, type ErrorCode } from "../../core/errors/catalogue.ts";
import { stateOfStore } from "../../core/errors/store-failure.ts";
import type { ErrorInfo } from "../../core/errors/tempera-error.ts";
import { retrieve, store, storeApart } from "../../core/files/stored-value.ts";
import { transientKey } from "../../core/files/transient.ts";
import type { JsonObject, Stored } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { RetryCondition, RetryPolicy } from "../../core/models/model.ts";
import { steadyClock } from "../../core/operations/clock.ts";
import type { Log } from "../../core/operations/log.ts";
import { unitsMade } from "../../core/owners/usage.ts";
import type { HandOver, JobSpec, PreviousAttempts, StoreGivenUp } from "../../core/requests/job.ts";
import type { Outcome } from "../../core/requests/request.ts";
import type { CachedResult, ResultClaim } from "../pipelines/node-cache.ts";
import { ArtifactSink } from "./artifact-sink.ts";
import { CheckpointStore } from "./checkpoint-store.ts";
import { EventWriter } from "./event-writer.ts";
import type { InferDependencies, InferResult } from "./infer-dependencies.ts";
import type { FetchedInput } from "./input-files.ts";
import { publicError } from "./public-error.ts";
import { isWaitedFor, StoreWait, storePauseMs } from "./store-wait.ts";

/** The longest delay of a Node timer; a timer with a longer one fires at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

export interface AttemptStart {
  job: JobSpec;
  /** Number of this attempt, over all activities of the job. */
  attempt: number;
  before: PreviousAttempts | undefined;
  context: Context;
}

/** The output of an attempt, before it is stored. */
interface ProducedOutput {
  value: JsonObject;
  /** The engine's result; absent for an earlier result that is reused. */
  result?: EngineResult;
  /** Addresses of the files that the engine produced. */
  files: string[];
}

/** The verdict on a failed attempt. */
export interface AttemptVerdict {
  info: ErrorInfo;
  retryable: boolean;
  /** Present when this worker hands the job over, which uses up no attempt. */
  handOver?: HandOver;
  /** The line of the request's log about the next attempt. */
  line?: string;
  /** The job has waited for a store for as long as it may, or has crashed engines: nothing more is tried. */
  givenUp?: StoreGivenUp;
}

/**
 * One attempt of one request on this worker. `run` goes through these steps, and ends in `#fail` when one of
 * them throws:
 *
 * 1. load the input and download its files,
 * 2. look for an earlier result, for nodes of pipelines,
 * 3. run the engine, which sends events, artifacts and checkpoints meanwhile,
 * 4. store the output, for which it waits while a store fails,
 * 5. settle: record the outcome in PostgreSQL, then tell it in the event log.
 *
 * Three signals abort it: the caller's cancel, Temporal (cancel, timeout or shutdown of this worker), and the
 * caller's start deadline while the engine has not started. Dispose of it when it has ended.
 */
export class InferenceAttempt implements Disposable {
  readonly #dependencies: InferDependencies;
  readonly #job: JobSpec;
  readonly #attempt: number;
  readonly #before: PreviousAttempts | undefined;
  readonly #context: Context;
  readonly #events: EventWriter;
  readonly #checkpoints: CheckpointStore;
  readonly #storeWait: StoreWait;
  readonly #beganMs = steadyClock.nowMs();
  readonly #cancel: { signal: AbortSignal } & Disposable;
  readonly #startDeadline = new AbortController();
  readonly #startTimer: NodeJS.Timeout | undefined;
  readonly #signal: AbortSignal;
  readonly #heartbeat: NodeJS.Timeout;
  #progress: { step: number; steps: number } | undefined;
  #startedAtMs: number | undefined;
  /** The claim to make a result for the node cache. */
  #claim: ResultClaim | undefined;

  constructor(dependencies: InferDependencies, { job, attempt, before, context }: AttemptStart) {
    this.#dependencies = dependencies;
    this.#job = job;
    this.#attempt = attempt;
    this.#before = before;
    this.#context = context;
    this.#events = new EventWriter(dependencies.events, job, this.#warn);
    this.#checkpoints = new CheckpointStore(dependencies.objects, job.requestId, this.#warn);
    this.#cancel = dependencies.running.track(job.requestId, ...(job.node ? [job.node.pipelineId] : []));
    this.#signal = AbortSignal.any([
      this.#cancel.signal,
      context.cancellationSignal,
      this.#startDeadline.signal,
    ]);
    this.#storeWait = new StoreWait({
      retryMs: dependencies.storeWait.resultMs,
      // Before Temporal ends the attempt, so that the error is the store's.
      untilMs: this.#beganMs + job.timeouts.runMs * 0.9,
      signal: this.#signal,
      tell: (line, error) => {
        this.#log("WARN", line);
        this.#warn(error.message);
      },
    });
    this.#startTimer = this.#startTimerOf(job);
    this.#heartbeat = setInterval(() => this.#beat(), Math.max(200, job.timeouts.heartbeatMs / 4));
  }

  /** Carries the attempt out. Rejects with the failure that Temporal should see. */
  async run(): Promise<InferResult> {
    try {
      const input = await this.#loadInput();
      await using fetched = await this.#dependencies.fetchInput(input, this.#job.ownerId, this.#signal);
      const cached = await this.#lookUp(fetched);
      const checkpoint = this.#attempt > 1 ? await this.#checkpoints.find() : undefined;
      const produced = cached ? await this.#reuse(cached) : await this.#runEngine(fetched, checkpoint);
      const output = await this.#storeWait.retry(() => this.#storeOutput(produced.value));
      // An attempt that is retried may find the result of the one before it: that is no hit.
      const hit = cached !== undefined && cached.madeBy !== this.#job.requestId;
      const outcome = this.#outcomeOf(produced, output, hit ? "hit" : "miss");
      const caching = this.#claim?.store(output, produced.files);
      const result = await this.#settle(outcome);
      await caching;
      return result;
    } catch (error) {
      throw await this.#fail(error);
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#heartbeat);
    clearTimeout(this.#startTimer);
    this.#cancel[Symbol.dispose]();
  }

  async #loadInput(): Promise<JsonObject> {
    const { objects, checkNode } = this.#dependencies;
    const input = await retrieve<JsonObject>(objects, this.#job.input);
    return this.#job.node ? checkNode(this.#job, input, (message) => this.#log("WARN", message)) : input;
  }

  /** Finds an earlier result for a node that may be cached; otherwise claims to make it. */
  async #lookUp(fetched: FetchedInput): Promise<CachedResult | undefined> {
    // Files that are returned as data URIs are stored nowhere, so they cannot be reused.
    if (!this.#job.cache || fetched.input.sync_mode === true) return undefined;
    const found = await this.#dependencies.nodeCache.lookUp(this.#job, fetched, this.#signal);
    if ("output" in found) return found;
    this.#claim = found;
    return undefined;
  }

  /** The value is stored anew for this request: deleting the other request's payloads does not delete it. */
  async #reuse({ output }: CachedResult): Promise<ProducedOutput> {
    return { value: await retrieve<JsonObject>(this.#dependencies.objects, output), files: [] };
  }

  async #runEngine(
    { input, files }: FetchedInput,
    checkpoint: Uint8Array | undefined,
  ): Promise<ProducedOutput> {
    const { requestId, ownerId, endpoint, version } = this.#job;
    using sink = new ArtifactSink({
      ...this.#dependencies,
      ...this.#dependencies.output,
      job: this.#job,
      inline: input.sync_mode === true,
      log: this.#attemptLog,
    });
    const run = { requestId, ownerId, attempt: this.#attempt, endpoint, version, input, files };
    const result = await this.#dependencies.engines.run(
      { ...run, ...(checkpoint && { checkpoint }) },
      this.#engineListener(sink),
      this.#signal,
    );
    await sink.storeKept((put) => this.#storeWait.retry(put));
    return { value: sink.resolve(result.output), result, files: sink.urls() };
  }

  /** Turns what the engine sends during a run into events, checkpoints and artifacts. */
  #engineListener(sink: ArtifactSink): EngineListener {
    const attempt = this.#attempt;
    const events = this.#events;
    return {
      started: (worker) => {
        this.#startedAtMs = this.#dependencies.clock.nowMs();
        clearTimeout(this.#startTimer);
        events.write({ type: "started", attempt, worker });
      },
      log: (level, message) => this.#log(level, message),
      progress: (step, steps, remainingMs) => {
        this.#progress = { step, steps };
        const remaining = remainingMs === undefined ? {} : { remainingMs };
        events.write({ type: "progress", attempt, step, steps, ...remaining });
      },
      ...(this.#job.previews && {
        preview: (step: number, contentType: string, bytes: Uint8Array) => {
          if (bytes.length > LIMITS.previewBytesMax) return;
          const data = Buffer.from(bytes).toString("base64");
          events.write({ type: "preview", attempt, step, contentType, data });
        },
      }),
      checkpoint: (step, bytes) => this.#checkpoints.save(step, bytes),
      artifact: (head, chunks) => sink.store(head, chunks),
    };
  }

  #storeOutput(value: JsonObject): Promise<Stored<JsonObject>> {
    const { objects, files } = this.#dependencies;
    const { requestId, ownerId, storeIo } = this.#job;
    const stores = { objects, files, log: this.#attemptLog };
    return storeIo === false
      ? storeApart(stores, { ownerId, key: transientKey(requestId, "output") }, value)
      : store(stores, { ownerId, key: `outcomes/${requestId}.json` }, value);
  }

  #outcomeOf(
    { value, result }: ProducedOutput,
    output: Stored<JsonObject>,
    cache: "hit" | "miss",
  ): Outcome & { ok: true } {
    const { price, node, submittedAtMs } = this.#job;
    const startedAtMs = this.#startedAtMs ?? this.#dependencies.clock.nowMs();
    return {
      ok: true,
      output,
      ...(price && { units: unitsMade(price.unit, value, { cache, ...result }) }),
      metrics: {
        inference_time: Math.round(result?.inferenceMs ?? 0) / 1000,
        queue_time: Math.max(0, startedAtMs - submittedAtMs) / 1000,
      },
      ...(node && { cache }),
    };
  }

  /**
   * Records the outcome and tells it, which answers the caller. When it cannot be recorded, nothing is told
   * here: the workflow's finish step records it then, and tells what stands.
   */
  async #settle(outcome: Outcome): Promise<InferResult> {
    const job = this.#job;
    const attempt = this.#attempt;
    const started = this.#startedAtMs === undefined ? {} : { startedAtMs: this.#startedAtMs };
    await this.#events.sent();
    void this.#checkpoints.remove();
    const logged = this.#events.logged || job.logged === true || attempt > 1;
    const recorded = await this.#dependencies
      .recordOutcome({
        job,
        outcome,
        attempts: attempt,
        ...started,
        logged,
        checkpointed: false,
        exhausted: false,
      })
      .catch((error) => {
        this.#warn(`the outcome was not recorded; the finish step will record it: ${String(error)}`);
        return undefined;
      });
    return { outcome: recorded ?? outcome, attempt, ...started, recorded: recorded !== undefined };
  }

  /** Cleans up after an error. Returns the failure for Temporal, which decides whether it retries. */
  async #fail(error: unknown): Promise<ApplicationFailure | CancelledFailure> {
    await this.#claim?.release();
    const { cancellationSignal, cancellationDetails } = this.#context;
    if (cancellationSignal.aborted && !cancellationDetails?.workerShutdown) {
      // An attempt that Temporal has given up does not end the job: its successor needs the checkpoint.
      if (cancellationDetails?.cancelRequested) void this.#checkpoints.remove();
      return new CancelledFailure("The request was cancelled.");
    }
    const verdict = this.#judge(error);
    const { info, retryable, handOver, givenUp, line } = verdict;
    const isLast = !retryable || this.#countedAttempts >= this.#job.retry.attemptsMax;
    if (!givenUp && (handOver || !isLast)) {
      const attempt = this.#attempt;
      this.#log(
        "WARN",
        line ?? `Attempt ${attempt} failed: ${info.message.replace(/\.?$/, ".")} Trying again.`,
      );
      this.#events.write({ type: "queued", attempt, reason: info });
      await this.#checkpoints.flush();
    } else void this.#checkpoints.remove();
    await this.#events.drained();
    return attemptFailure(verdict, this.#attempt);
  }

  /** Names the error, and decides whether it may be retried and whether this worker hands the job over. */
  #judge(error: unknown): AttemptVerdict {
    const overdue = this.#startDeadline.signal.aborted;
    const shutDown = this.#signal.aborted && !this.#cancel.signal.aborted && !overdue;
    const info = this.#errorOf(error, { overdue, shutDown });
    const { retry } = this.#job;
    const mayPass = CATALOGUE[info.code].retryable || this.#mayFitElsewhere(info.code);
    const retryable = mayPass && !overdue && this.#countedAttempts <= retriesAllowed(retry, info.code);
    // The attempts before have crashed engines: the request ends as one that has used up its attempts.
    if (info.code === "input_quarantined" && this.#countedAttempts > 1)
      return { info, retryable, givenUp: { exhausted: true } };
    // It lasts for most of an hour: the caller is told now, and the request kept as a dead letter.
    if (info.code === "engine_crash_limit") return { info, retryable, givenUp: { exhausted: true } };
    if (error instanceof RunTurnedAway && !overdue) return { info, retryable, ...this.#comeBack(error) };
    if (!retryable || retry.attemptsMax <= 1 || this.#before === undefined) return { info, retryable };
    // Nothing has failed: a worker may be stopped or drained however often without using up an attempt.
    if (shutDown || error instanceof RunHandedOver) {
      const { handOvers, storeWaits } = this.#before;
      if (handOvers - (storeWaits?.times ?? 0) >= LIMITS.handOversMax) return { info, retryable };
      return { info, retryable, handOver: { handedOver: true, started: this.#hasStarted } };
    }
    return { info, retryable, ...this.#waitFor(error) };
  }

  /** Another device may have more memory for it, or this one more of it free. */
  #mayFitElsewhere(code: ErrorCode): boolean {
    return code === "runner_out_of_memory" && this.#countedAttempts < LIMITS.memoryAttemptsMax;
  }

  /**
   * Hands over a job that was turned away, as one that waits for a store: its workflow knows no other pause.
   * It comes to an end: crashes are forgotten after an hour, and a worker that had too little memory turns it
   * away a few times only.
   */
  #comeBack({ message }: RunTurnedAway): Pick<AttemptVerdict, "handOver" | "line"> {
    const waits = this.#before?.storeWaits;
    if (!waits) return {};
    const delayMs = storePauseMs(waits.times);
    const storeWaits = { ...waits, times: waits.times + 1 };
    return {
      handOver: { handedOver: true, started: this.#hasStarted, storeWait: { delayMs, storeWaits } },
      line: `${message} It is tried again in ${Math.ceil(delayMs / 1000)} s.`,
    };
  }

  /** Hands the job over because of a store, unless it has waited for stores for as long as it may. */
  #waitFor(error: unknown): Pick<AttemptVerdict, "handOver" | "givenUp" | "line"> {
    const before = this.#before?.storeWaits;
    const { jobMs } = this.#dependencies.storeWait;
    if (!before || jobMs === 0 || !isWaitedFor(error)) return {};
    // An attempt that reached no engine has done nothing but to wait for the store.
    const waitedMs =
      this.#startedAtMs === undefined ? steadyClock.nowMs() - this.#beganMs : this.#storeWait.waitedMs;
    const spentMs = before.waitedMs + waitedMs;
    const leftMs = jobMs - spentMs;
    if (leftMs <= 0) return { givenUp: { exhausted: true } };
    const delayMs = Math.min(storePauseMs(before.times), leftMs);
    const storeWaits = { times: before.times + 1, waitedMs: spentMs + delayMs };
    return {
      handOver: { handedOver: true, started: this.#hasStarted, storeWait: { delayMs, storeWaits } },
      line: `${stateOfStore(error).state}; the request is tried again in ${Math.ceil(delayMs / 1000)} s.`,
    };
  }

  #errorOf(error: unknown, { overdue, shutDown }: { overdue: boolean; shutDown: boolean }): ErrorInfo {
    if (overdue) return { code: "startup_timeout", message: CATALOGUE.startup_timeout.message };
    if (shutDown)
      return {
        code: "runner_disconnected",
        message: "The GPU worker was shut down before the request was done.",
      };
    return publicError(error, (message) => this.#context.log.error(message));
  }

  /** Attempts of the retry policy, including this one. Attempts that were handed over do not count. */
  get #countedAttempts(): number {
    return this.#attempt - (this.#before?.handOvers ?? 0);
  }

  /** An attempt of the job has reached an engine, in this activity or before. */
  get #hasStarted(): boolean {
    return this.#startedBefore || this.#startedAtMs !== undefined;
  }

  get #startedBefore(): boolean {
    return this.#before?.started === true || this.#context.info.attempt > 1;
  }

  /**
   * Aborts the attempt at the caller's start deadline. Temporal's own deadline ended when this worker took
   * the task, but a request whose engine is still loading has not started.
   */
  #startTimerOf({ startTimeoutMs, submittedAtMs }: JobSpec): NodeJS.Timeout | undefined {
    if (startTimeoutMs === undefined || this.#startedBefore) return undefined;
    const remainingMs = submittedAtMs + startTimeoutMs - this.#dependencies.clock.nowMs();
    return setTimeout(() => this.#startDeadline.abort(), Math.min(Math.max(0, remainingMs), TIMER_MS_MAX));
  }

  /** Details are for people who look at the attempt; the next one finds the checkpoint by its key. */
  #beat(): void {
    const { savedStep } = this.#checkpoints;
    this.#context.heartbeat(
      this.#progress && { ...this.#progress, ...(savedStep !== undefined && { checkpoint: savedStep }) },
    );
  }

  #log(level: Parameters<EngineListener["log"]>[0], message: string): void {
    this.#events.write({ type: "log", attempt: this.#attempt, level, message });
  }

  readonly #warn = (message: string): void => this.#context.log.warn(message);

  readonly #attemptLog: Pick<Log, "warn"> = {
    warn: (fields, message) => this.#context.log.warn(message, { ...fields }),
  };
}

/** Returns the failure of an attempt for Temporal. A hand-over is not retried: its workflow calls anew. */
export function attemptFailure(
  { info, retryable, handOver, givenUp }: AttemptVerdict,
  attempt: number,
): ApplicationFailure {
  return ApplicationFailure.create({
    type: info.code,
    message: info.message,
    nonRetryable: !retryable || handOver !== undefined || givenUp !== undefined,
    ...(info.retryAfterMs !== undefined && {
      nextRetryDelay: Math.min(info.retryAfterMs, LIMITS.attemptDelayMsMax),
    }),
    details: [info, attempt, ...(handOver || givenUp ? [handOver ?? givenUp] : [])],
  });
}

/**
 * Retries that the caller allows after a failure of this kind. All attempts count, whatever failed in them.
 */
function retriesAllowed({ limits }: RetryPolicy, code: ErrorCode): number {
  return limits?.[conditionOf(code)] ?? Number.POSITIVE_INFINITY;
}

function conditionOf(code: ErrorCode): RetryCondition {
  if (code === "request_timeout" || code === "runner_connection_timeout") return "timeout";
  if (code.startsWith("runner_connection") || code === "runner_disconnected") return "connection_error";
  return "server_error";
}

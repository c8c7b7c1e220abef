/**
 * An engine is a process that has one model version loaded on one device and runs it. Activities see the pool
 * of engines as `Engines`; `gpu-workers/contract/engine.proto` is the same contract on the wire.
 *
 * This folder has the engines' contract, the status that GPU workers report of them, and where it is kept.
 */
import { type ErrorInfo, TemperaError } from "../errors/tempera-error.ts";
import type { InputFile } from "../files/input-file.ts";
import type { JsonObject } from "../json/json.ts";
import type { LogLevel } from "../requests/events.ts";
import type { Frame } from "../requests/session.ts";

export interface EngineRun {
  requestId: string;
  /** The owner of the request: crashes of engines count against the owners of their requests. */
  ownerId: string;
  attempt: number;
  endpoint: string;
  version: string;
  input: JsonObject;
  /** The files that the input refers to as `attachment:<index>`. */
  files?: InputFile[];
  /** The newest checkpoint of an earlier attempt; the engine continues from it when it can. */
  checkpoint?: Uint8Array;
}

/** A produced file, announced before its bytes so that they can be streamed to where they belong. */
export interface ArtifactHead {
  /** The number by which the output refers to it: `{"$artifact": 0}`. */
  index: number;
  contentType: string;
  fileName: string;
  bytes: number;
  /** hex */
  sha256: string;
  width?: number;
  height?: number;
}

export interface EngineListener {
  /** The engine has begun: the request left the queue. Called once, before anything else. */
  started(worker: string): void;
  log(level: LogLevel, message: string): void;
  progress(step: number, steps: number, remainingMs?: number): void;
  /** Small images of the unfinished result. The engine makes them only for a listener that takes them. */
  preview?(step: number, contentType: string, data: Uint8Array): void;
  /**
   * The state after some step, for the next attempt. The engine sends it only to a listener that takes it.
   */
  checkpoint?(step: number, bytes: Uint8Array): void;
  /** Must read all of `chunks`; the run continues when it resolves. */
  artifact(head: ArtifactHead, chunks: AsyncIterable<Uint8Array>): Promise<void>;
}

export interface EngineResult {
  /** The model's output; it refers to produced files as `{"$artifact": n}`. */
  output: JsonObject;
  inferenceMs: number;
}

/**
 * Ends a run that its GPU worker hands over before the end, because the worker stops or no longer serves the
 * model. Nothing has failed: another worker runs the request, and no attempt is used up.
 */
export class RunHandedOver extends TemperaError {
  constructor(message: string) {
    super("runner_disconnected", message);
  }
}

/**
 * Ends a run that would have to wait to be alone on its engine, while enough others wait for that already; or
 * one that this worker's device had too little memory for, so that other workers go first. Nothing has
 * failed: the request is tried again after a pause, and no attempt is used up.
 */
export class RunTurnedAway extends TemperaError {
  constructor(message: string) {
    super("runner_scheduling_failure", message);
  }
}

export interface Engines {
  /**
   * Runs one request on an engine of its model version, and loads an engine first when none is warm.
   *
   * Rejects with a `TemperaError`:
   * - `RunHandedOver`              this worker hands the run over
   * - `RunTurnedAway`              it would have to wait to be alone, or other workers go first
   * - `runner_disconnected`        the engine died
   * - `runner_device_fault`        the device faulted, and the engine was ended for it
   * - `runner_out_of_memory`       the device has too little memory for this input
   * - `runner_server_error`        the engine failed on this input
   * - `runner_connection_timeout`  the engine sent nothing for `timeouts.silenceMs`
   * - `runner_incomplete_response` the engine's response breaks the contract
   * - `input_invalid`              the engine refused the input
   * - `client_cancelled`           `signal` was aborted; the engine stops between two steps
   * - `runner_scheduling_failure`  no engine could be started
   * - `input_quarantined`          the input has crashed engines, see `treatmentOf`
   * - `engine_crash_limit`         the owner has, with whatever inputs
   */
  run(run: EngineRun, listener: EngineListener, signal: AbortSignal): Promise<EngineResult>;
}

export interface EngineSession {
  sessionId: string;
  ownerId: string;
  attempt: number;
  endpoint: string;
  version: string;
  /**
   * The part of the caller's address behind the endpoint: `/realtime`, `/custom`; empty for a raw session.
   */
  path: string;
  /** Payloads are bytes or text in the caller's own format; otherwise each is one msgpack object. */
  raw: boolean;
}

export interface SessionListener {
  /** The session has a slot of an engine, which takes inputs now. Called once, before anything else. */
  started(worker: string): void;
  /** The engine continues when it resolves. */
  output(frame: Frame): Promise<void>;
  /** The engine has finished an input; with `error`, it failed on it. */
  settled(sequence: number, error: ErrorInfo | undefined): Promise<void>;
}

export interface SessionEngines {
  /**
   * Holds a slot of the model version's engine for a realtime session until `inputs` end. Rejects as
   * `Engines.run` does; with `runner_server_error` also when the engine does not support sessions.
   */
  hold(
    session: EngineSession,
    inputs: AsyncIterable<Frame>,
    listener: SessionListener,
    signal: AbortSignal,
  ): Promise<void>;
}

/**
 * Names the object that holds a request's checkpoint: the state of its unfinished run after some step, which
 * only the engine can read. A request has at most one, the newest; it is deleted when the request ends.
 */
export function checkpointKey(requestId: string): string {
  return `checkpoints/${requestId}`;
}

/**
 * An engine is a process that has one model version loaded on one device and runs it. `Engines` is how an
 * activity sees the pool of them; `gpu-workers/engine.proto` is the same contract on the wire.
 */
import { type ErrorInfo, TemperaError } from "../errors/tempera-error.ts";
import type { InputFile } from "../files/input-file.ts";
import type { JsonObject } from "../json/json.ts";
import type { LogLevel } from "../requests/events.ts";
import type { Frame } from "../requests/session.ts";

export interface EngineRun {
  requestId: string;
  attempt: number;
  endpoint: string;
  version: string;
  input: JsonObject;
  /** What the input names as `attachment:<index>`. */
  files?: InputFile[];
  /** What the newest checkpoint of an earlier attempt held; the engine goes on from it when it fits. */
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
  /** Small pictures of the unfinished result. The engine makes them only for a listener that takes them. */
  preview?(step: number, contentType: string, data: Uint8Array): void;
  /**
   * The state after some step, for the next attempt. The engine hands it out only to a listener that takes
   * it.
   */
  checkpoint?(step: number, bytes: Uint8Array): void;
  /** Must drain `chunks`; the run goes on when it resolves. */
  artifact(head: ArtifactHead, chunks: AsyncIterable<Uint8Array>): Promise<void>;
}

export interface EngineResult {
  /** The model's output; produced files stand in it as `{"$artifact": n}`. */
  output: JsonObject;
  inferenceMs: number;
}

/**
 * A run whose worker lets go of it before its end: the worker stops, or serves the model no more. Nothing has
 * failed.
 */
export class RunHandedOver extends TemperaError {
  constructor(message: string) {
    super("runner_disconnected", message);
  }
}

export interface Engines {
  /**
   * Runs one request on an engine of its model version, loading one first when none is warm.
   *
   * Rejects with a `TemperaError`: `RunHandedOver` when this worker lets go of it, `runner_disconnected` when
   * the engine died, `runner_server_error` when it failed on this input, `runner_connection_timeout` when it
   * gave no sign for `timeouts.silenceMs`, `runner_incomplete_response` when it answered what no engine may
   * answer, `input_invalid` when it refused the input, `client_cancelled` when `signal` was aborted (the
   * engine stops between two steps), `runner_scheduling_failure` when no engine could be started.
   */
  run(run: EngineRun, listener: EngineListener, signal: AbortSignal): Promise<EngineResult>;
}

export interface EngineSession {
  sessionId: string;
  attempt: number;
  endpoint: string;
  version: string;
  /** What the caller's address has behind the endpoint: `/realtime`, `/custom`; empty for a raw session. */
  path: string;
  /** Payloads are the caller's own; else each is one msgpack object. */
  raw: boolean;
}

export interface SessionListener {
  /** The engine holds a slot and takes inputs. Called once, before anything else. */
  started(worker: string): void;
  /** The engine goes on when it resolves. */
  output(frame: Frame): Promise<void>;
  /** The engine is done with an input, and failed on it when there is an error. */
  settled(sequence: number, error: ErrorInfo | undefined): Promise<void>;
}

export interface SessionEngines {
  /**
   * Holds a slot of the model version's engine for a realtime session, until `inputs` end. Rejects as
   * `Engines.run` does; `runner_server_error` also when the engine has no sessions.
   */
  hold(
    session: EngineSession,
    inputs: AsyncIterable<Frame>,
    listener: SessionListener,
    signal: AbortSignal,
  ): Promise<void>;
}

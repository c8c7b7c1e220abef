/** The interface that an engine written in TypeScript implements; `serveEngine` does the rest. */
import type { InputFile } from "../../core/files/input-file.ts";
import type { JsonObject } from "../../core/json/json.ts";
import type { RunState } from "../contract/checkpoint.ts";
import type { Capabilities } from "../contract/engine-protocol.ts";
import type { RunEmitter, StreamingEmitter } from "./run-emitter.ts";
import type { RunnerSession, SessionRun } from "./session-server.ts";

export type { RunEmitter };

export interface RunnerLoad {
  endpoint: string;
  version: string;
  runner: string;
  folder: string;
  parameters: JsonObject;
}

export interface RunnerRun {
  requestId: string;
  attempt: number;
  input: JsonObject;
  /**
   * Files that the input names, fetched. `attachedFile` finds the one that a value of the input stands for.
   */
  files: readonly InputFile[];
  /** Verified state that an earlier attempt at this very input handed out; the run goes on from it. */
  resume?: RunState;
}

/**
 * The inference of one engine. It throws `TemperaError`s; anything else that `run` throws is a
 * `runner_server_error`.
 */
export interface Runner {
  describe(): Omit<Capabilities, "memory">;
  /**
   * Loads the model version. Called once.
   *
   * @param progress takes the share that is loaded, from 0 to 1, and what was just loaded
   */
  load(load: RunnerLoad, progress: (fraction: number, loaded: string) => void): Promise<void>;
  /**
   * Runs one request. At least every 300 ms it must yield to the event loop and look at `signal`; it must
   * reject when `signal` is aborted.
   */
  run(
    run: RunnerRun,
    emit: StreamingEmitter,
    signal: AbortSignal,
  ): Promise<{ output: JsonObject; inferenceMs: number }>;
  /** Opens a realtime session; absent when the engine has none. The rules of `run` hold for each frame. */
  session?(session: RunnerSession): SessionRun | Promise<SessionRun>;
}

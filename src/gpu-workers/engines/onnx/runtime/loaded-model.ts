/**
 * The common shape of every model kind of the ONNX engine. Folders of the engine: `runtime` loads and runs
 * networks, `sampling` denoises latents, `image`, `video` and `audio` hold one model kind each, `media` reads
 * and writes clips with FFmpeg.
 */
import type { JsonObject } from "../../../../core/json/json.ts";
import type { LogLevel } from "../../../../core/requests/events.ts";
import type { RunEmitter } from "../../../engine-sdk/run-emitter.ts";
import type { RunnerRun } from "../../../engine-sdk/runner.ts";

/** A model in memory. Its runs may overlap; each gives the same bytes as it would alone. */
export interface LoadedModel {
  /** Rejects with the signal's reason between two steps, and with `input_invalid` for a bad input. */
  run(run: RunnerRun, emit: RunEmitter, signal: AbortSignal): Promise<RunResult>;
}

export interface RunResult {
  /** The output in fal's shape. */
  output: JsonObject;
  /** Time of the networks and their samplers; encoding of the files is left out where it takes long. */
  inferenceMs: number;
}

/** Reports the share of the loading that is done, 0..1, and the component that was loaded last. */
export type LoadProgress = (fraction: number, component: string) => void;

/** A sentence for the request's log about how its input was understood. */
export interface Remark {
  level: LogLevel;
  message: string;
}

export function logRemarks(emit: Pick<RunEmitter, "log">, remarks: readonly Remark[]): void {
  for (const { level, message } of remarks) emit.log(level, message);
}

/**
 * A realtime session is one caller's socket that holds a slot of an engine while it is open. It is a Temporal
 * workflow (its id is the session id) with one long activity on the model's task queue. Frames do not pass
 * through Temporal, but directly between the gateway with the socket and the GPU worker with the engine.
 * Workflow code imports this: types and pure functions only.
 */
import type { ErrorInfo } from "../errors/tempera-error.ts";
import type { InputFile } from "../files/input-file.ts";
import type { RetryPolicy } from "../models/model.ts";

/** The input of a session's workflow. */
export interface SessionSpec {
  /** A UUIDv7, like the id of a request. */
  sessionId: string;
  ownerId: string;
  keyId: string;
  endpoint: string;
  version: string;
  modelDigest: string;
  taskQueue: string;
  /** The part of the caller's address behind the endpoint: `/realtime`, `/custom`; empty for a raw socket. */
  path: string;
  /** Frames are bytes or text in the caller's own format, passed on unchanged; otherwise msgpack objects. */
  raw: boolean;
  /** Longest wait for a slot, at the start and after the loss of an engine. */
  startMs: number;
  /** Longest duration of the session. */
  sessionMs: number;
  heartbeatMs: number;
  /** Interval at which each end signals that it is alive. */
  pulseMs: number;
  /** Silence after which the GPU worker regards the gateway as gone. */
  silenceMs: number;
  /** `attemptsMax` limits the losses of an engine or a GPU worker that a session survives. */
  retry: RetryPolicy;
}

/** One message of the caller or the engine. */
export interface Frame {
  /** 1, 2, …: the number that the gateway gave to the input; an output has the number of its input. */
  sequence: number;
  payload: Uint8Array;
  /** True for a raw frame of text; `payload` is its UTF-8. */
  text?: boolean;
  /**
   * The fetched files that the input refers to as `attachment:<index>`; only from a GPU worker to its engine.
   */
  files?: InputFile[];
}

/**
 * Messages from the gateway to the GPU worker. `attempt` identifies the addressed worker: one of an abandoned
 * attempt may still listen.
 */
export type ToWorker = { type: "here" } | { type: "input"; attempt: number; frame: Frame } | { type: "end" };

/** Messages from the GPU worker to the gateway. The first `pulse` of an attempt reports a ready engine. */
export type ToGateway =
  | { type: "pulse"; attempt: number; worker: string; settledThrough: number }
  | { type: "output"; attempt: number; frame: Frame }
  /** The engine has finished an input; with `error`, it failed on it. Inputs are settled in order. */
  | { type: "settled"; attempt: number; sequence: number; error?: ErrorInfo }
  /** The attempt has ended. `final`: no other one follows. */
  | { type: "ended"; attempt: number; error: ErrorInfo; final: boolean };

/**
 * A successful end. `caller_left`: the gateway ended the session; `gateway_lost`: it sent no more messages.
 */
export interface SessionEnd {
  reason: "caller_left" | "gateway_lost";
  /** Number of inputs that the last attempt's engine finished. */
  inputs: number;
}

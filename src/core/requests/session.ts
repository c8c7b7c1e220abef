/**
 * A realtime session is one caller's socket that holds one slot of an engine for as long as it is open. It is
 * a Temporal workflow (its id is the session id) with one long activity on the model's task queue; frames
 * travel beside Temporal, between the gateway that has the socket and the GPU worker that has the engine.
 * Imported by workflow code: types and pure functions only.
 */
import type { ErrorInfo } from "../errors/tempera-error.ts";
import type { RetryPolicy } from "../models/model.ts";

export interface SessionSpec {
  /** A UUIDv7, as a request's. */
  sessionId: string;
  ownerId: string;
  keyId: string;
  endpoint: string;
  version: string;
  modelDigest: string;
  taskQueue: string;
  /** What the caller's address has behind the endpoint: `/realtime`, `/custom`; empty for a raw socket. */
  path: string;
  /**
   * Frames are bytes or text of the caller's own making, passed on as they are; else each is a msgpack
   * object.
   */
  raw: boolean;
  /** Longest wait for a slot, at the start and after a loss. */
  startMs: number;
  /** Longest life. */
  sessionMs: number;
  heartbeatMs: number;
  /** How often each end says that it is there. */
  pulseMs: number;
  /** Silence after which the GPU worker takes the gateway for gone. */
  silenceMs: number;
  /** `attemptsMax` counts the losses of an engine or a GPU worker that a session survives. */
  retry: RetryPolicy;
}

/** One message of a caller or of the engine. */
export interface Frame {
  /** 1, 2, … as the gateway numbered the inputs; an output bears the number of the input it answers. */
  sequence: number;
  payload: Uint8Array;
  /** A raw frame that is text: `payload` is its UTF-8. */
  text?: boolean;
}

/**
 * Gateway → GPU worker. `attempt` names the one worker that is meant: one that was given up may still be
 * listening.
 */
export type ToWorker = { type: "here" } | { type: "input"; attempt: number; frame: Frame } | { type: "end" };

/** GPU worker → gateway. The first `pulse` of an attempt says that its engine is ready. */
export type ToGateway =
  | { type: "pulse"; attempt: number; worker: string; settledThrough: number }
  | { type: "output"; attempt: number; frame: Frame }
  /** The engine is done with an input; with `error` when it failed on it. Inputs are settled in order. */
  | { type: "settled"; attempt: number; sequence: number; error?: ErrorInfo }
  /** The attempt is over. `final`: no other follows. */
  | { type: "ended"; attempt: number; error: ErrorInfo; final: boolean };

/** How a session ended well. `caller_left`: the gateway said so; `gateway_lost`: it fell silent. */
export interface SessionEnd {
  reason: "caller_left" | "gateway_lost";
  /** Inputs that the last attempt's engine has dealt with. */
  inputs: number;
}

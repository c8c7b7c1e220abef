/**
 * `engine.proto` for TypeScript: the messages as types, the client, and the service definition for a server.
 *
 * This folder is the contract between a GPU worker and an engine process; both sides import it. The meaning
 * of each message is documented in `engine.proto`.
 */
import { fileURLToPath } from "node:url";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { InputFile } from "../../core/files/input-file.ts";
import type { LogLevel } from "../../core/requests/events.ts";

export interface Memory {
  totalMib: number;
  usedMib: number;
  allocatedMib?: number;
  peakMib?: number;
  freeMib?: number;
}

export interface Capabilities {
  runners: string[];
  supportsStreaming: boolean;
  artifactTypes: string[];
  maxBatch: number;
  supportsCheckpoint: boolean;
  supportsRealtime?: boolean;
  memory: Memory;
}

export interface LoadRequest {
  endpoint: string;
  version: string;
  runner: string;
  folder: string;
  parametersJson: string;
  slots: number;
  digest?: string;
  checkpoint?: { everySteps: number; everySeconds: number } | null;
}

/** Exactly one member is set: the one that `event` names. */
export interface LoadEvent {
  event: "progress" | "loaded";
  progress?: { fraction: number; says: string };
  loaded?: { memory: Memory };
}

export interface RunStart {
  requestId: string;
  attempt: number;
  inputJson: string;
  /** Opens a realtime session. */
  session?: { path: string; raw: boolean } | null;
  files?: InputFile[];
  previews?: boolean;
  checkpoint?: CheckpointMessage | null;
  checkpoints?: boolean;
}

export interface CheckpointMessage {
  step: number;
  bytes: number;
}

export interface FrameMessage {
  sequence: number;
  payload: Uint8Array;
  text?: boolean;
  /** The files that an input names. */
  files?: InputFile[];
}

export interface RunRequest {
  start?: RunStart;
  frame?: FrameMessage;
  checkpointChunk?: { data: Uint8Array };
}

export interface ArtifactHeadMessage {
  index: number;
  contentType: string;
  fileName: string;
  bytes: number;
  sha256: string;
  width?: number;
  height?: number;
}

export interface ErrorMessage {
  code: string;
  message: string;
  faultsJson: string;
  /** With `runner_device_fault`: no input can be the cause. */
  ofDevice?: boolean;
}

/** An event of a run. Exactly one member is set: the one that `event` names on the wire. */
export interface RunEvent {
  event?:
    | "started"
    | "log"
    | "progress"
    | "artifact"
    | "chunk"
    | "output"
    | "error"
    | "frame"
    | "frameDone"
    | "preview"
    | "checkpoint"
    | "checkpointChunk";
  started?: Record<string, never>;
  log?: { level: LogLevel; message: string };
  progress?: { step: number; steps: number; remainingMs?: number };
  preview?: { step: number; contentType: string; data: Uint8Array };
  artifact?: ArtifactHeadMessage;
  chunk?: { index: number; data: Uint8Array };
  checkpoint?: CheckpointMessage;
  checkpointChunk?: { data: Uint8Array };
  output?: { json: string; inferenceMs: number };
  error?: ErrorMessage;
  frame?: FrameMessage;
  frameDone?: { sequence: number; error?: ErrorMessage | null };
}

export interface HealthReply {
  loaded: boolean;
  running: number;
  waiting: number;
  memory: Memory;
}

/** Largest chunk of an artifact or a checkpoint on the wire. */
export const CHUNK_BYTES_MAX = 256 * 1024;

/** Largest message. JSON inputs and outputs, with base64 inside, may be as large as a request body. */
const MESSAGE_BYTES_MAX = 64 * 1024 * 1024;

export interface EngineClient extends grpc.Client {
  describe(
    request: object,
    options: grpc.CallOptions,
    callback: grpc.requestCallback<Capabilities>,
  ): grpc.ClientUnaryCall;
  load(request: LoadRequest, options: grpc.CallOptions): grpc.ClientReadableStream<LoadEvent>;
  run(): grpc.ClientDuplexStream<RunRequest, RunEvent>;
  health(
    request: object,
    options: grpc.CallOptions,
    callback: grpc.requestCallback<HealthReply>,
  ): grpc.ClientUnaryCall;
}

/**
 * Longest path of a Unix socket. `sun_path` of its address has 108 bytes on Linux and 104 on macOS, including
 * the closing NUL.
 */
export const SOCKET_PATH_BYTES_MAX = 103;

type EngineClientConstructor = {
  new (...args: ConstructorParameters<typeof grpc.Client>): EngineClient;
  service: grpc.ServiceDefinition;
};

const definition = loadSync(fileURLToPath(new URL("./engine.proto", import.meta.url)), {
  longs: Number,
  defaults: true,
  oneofs: true,
});
const EngineClientClass = (
  grpc.loadPackageDefinition(definition) as unknown as {
    tempera: { engine: { v1: { Engine: EngineClientConstructor } } };
  }
).tempera.engine.v1.Engine;

export const ENGINE_SERVICE: grpc.ServiceDefinition = EngineClientClass.service;

export const MESSAGE_LIMITS = {
  "grpc.max_receive_message_length": MESSAGE_BYTES_MAX,
  "grpc.max_send_message_length": MESSAGE_BYTES_MAX,
} as const;

/**
 * Makes a client of the engine behind a Unix socket. It connects at once, and tries again every 10 ms. Calls
 * are never retried.
 */
export function connectEngine(socket: string): EngineClient {
  return new EngineClientClass(`unix:${socket}`, grpc.credentials.createInsecure(), {
    ...MESSAGE_LIMITS,
    "grpc.initial_reconnect_backoff_ms": 10,
    "grpc.min_reconnect_backoff_ms": 10,
    "grpc.max_reconnect_backoff_ms": 10,
    "grpc.enable_retries": 0,
  });
}

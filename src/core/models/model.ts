/**
 * A model version is one manifest, one pair of JSON Schemas, and weights. It is immutable once published; its
 * digest covers all three.
 */
import type { JsonObject } from "../json/json.ts";

export interface RetryPolicy {
  /** Tries in all, the first included. fal's ceiling is 10. */
  attemptsMax: number;
  initialMs: number;
  backoff: number;
  maximumMs: number;
  /**
   * Extra attempts that one request allows after a failure of a kind, where that is fewer than the model's.
   */
  limits?: Partial<Record<RetryCondition, number>>;
}

/**
 * The kinds of failure whose retries fal's callers may limit one by one (contract §2.1,
 * `X-Fal-Retry-Config`).
 */
export type RetryCondition = "server_error" | "timeout" | "connection_error";

/** What a model costs. */
export interface Price {
  /**
   * What is counted: `image`, `megapixel`, `second` (of inference), or a word for one result, `request` or
   * `video`.
   */
  unit: string;
  /** Of one unit. */
  unitPrice: number;
  /** ISO 4217: `USD`. */
  currency: string;
}

export interface ModelTimeouts {
  /** Silence after which a running attempt counts as lost. */
  heartbeatMs: number;
  /** Longest time one attempt may run. */
  runMs: number;
  /** Longest time an engine may take to load the weights. */
  loadMs: number;
  /**
   * Longest time a run may go on without a word of its engine; longer, and the engine counts as hung and is
   * ended. Absent: for ever.
   */
  silenceMs?: number;
}

/**
 * When the state of a run is kept, so that another attempt goes on from there: as soon as either has passed.
 * 0: not by this.
 */
export interface CheckpointPolicy {
  everySteps: number;
  everySeconds: number;
}

/**
 * A field of the public schema that this version can serve only in part: values outside `accepts` are a 422.
 */
export interface Restriction {
  field: string;
  /** JSON Schema of the values that are served. */
  accepts: JsonObject;
  message: string;
}

/** The field's schema dialect is 2020-12; `x-fal-order-properties` and friends pass through untouched. */
export type JsonSchema = JsonObject;

export interface ModelVersion {
  endpoint: string;
  version: string;
  /** sha256 over manifest, schemas and weights, hex. */
  digest: string;
  title: string;
  description: string;
  category: string;
  /** The kind of inference it needs: `text-to-image`, `stub`, … */
  runner: string;
  /** The engine program that serves it: `onnx`, `stub`. */
  engine: string;
  /** When this version was put where it is; for those of a folder, when its manifest was written there. */
  publishedAtMs?: number;
  /** Absolute path of the model folder. */
  folder: string;
  /** What the runner needs to know beyond the weights; the runner documents it. */
  parameters: JsonObject;
  restrictions: Restriction[];
  /** How many requests its engine runs at once. */
  slots: number;
  memoryMiB: number;
  /** Load at start instead of at the first request. */
  pinned: boolean;
  /** Takes realtime sessions. */
  realtime?: boolean;
  retry: RetryPolicy;
  timeouts: ModelTimeouts;
  /** Absent: as its engine sees fit. */
  checkpoint?: CheckpointPolicy;
  /** Absent: it costs nothing. */
  price?: Price;
  schemas: { input: JsonSchema; output: JsonSchema };
}

/** The Temporal task queue of a model version. */
export const taskQueueOf = (model: Pick<ModelVersion, "endpoint" | "version">): string =>
  `gpu/${model.endpoint}/${model.version}`;

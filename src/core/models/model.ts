/**
 * A model version is one manifest, one pair of JSON Schemas, and weights. It is immutable once published; its
 * digest covers all three.
 *
 * This folder has what can be called: endpoints, model versions, how versions are published and rolled out,
 * and the flags that switch them off.
 */
import type { JsonObject } from "../json/json.ts";

export interface RetryPolicy {
  /** Total number of attempts, the first included. fal's maximum is 10. */
  attemptsMax: number;
  initialMs: number;
  backoff: number;
  maximumMs: number;
  /** Retries that one request allows after failures of a kind, where it allows fewer than the model. */
  limits?: Partial<Record<RetryCondition, number>>;
}

/** A kind of failure whose retries a caller may limit (`X-Fal-Retry-Config`, contract §2.1). */
export type RetryCondition = "server_error" | "timeout" | "connection_error";

/** The price of a model. */
export interface Price {
  /**
   * The unit that is counted: `image`, `megapixel`, `second` (of inference), or a word for one result, such
   * as `request` or `video`.
   */
  unit: string;
  /** Price of one unit. */
  unitPrice: number;
  /** ISO 4217: `USD`. */
  currency: string;
}

export interface ModelTimeouts {
  /** Time without a heartbeat after which a running attempt counts as lost. */
  heartbeatMs: number;
  /** Longest time one attempt may run. */
  runMs: number;
  /** Longest time an engine may take to load the weights. */
  loadMs: number;
  /**
   * Longest time that a run may continue without a message from its engine. After that the engine counts as
   * hung and is killed. Absent: no limit.
   */
  silenceMs?: number;
}

/**
 * Intervals at which the state of a run is saved, so that another attempt continues from there. The one that
 * passes first counts; 0 switches one off.
 */
export interface CheckpointPolicy {
  everySteps: number;
  everySeconds: number;
}

/** A field of the public schema that this version serves only in part: values outside `accepts` are a 422. */
export interface Restriction {
  field: string;
  /** JSON Schema of the values that are served. */
  accepts: JsonObject;
  /** The sentence that refuses any other value. */
  message: string;
}

/** A JSON Schema, dialect 2020-12. Keywords such as `x-fal-order-properties` pass through untouched. */
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
  /** Name of the engine program that serves it: `onnx`, `stub`. */
  engine: string;
  /** Time of publication; for versions in the models folder, when the manifest was written there. */
  publishedAtMs?: number;
  /** Absolute path of the model folder. */
  folder: string;
  /** Values that the runner needs beyond the weights; the runner documents them. */
  parameters: JsonObject;
  restrictions: Restriction[];
  /** Requests that its engine runs at once. */
  slots: number;
  memoryMiB: number;
  /** Loads at start instead of at the first request. */
  pinned: boolean;
  /** Supports realtime sessions. */
  realtime?: boolean;
  retry: RetryPolicy;
  timeouts: ModelTimeouts;
  /** Absent: the engine decides. */
  checkpoint?: CheckpointPolicy;
  /** Absent: free of charge. */
  price?: Price;
  schemas: { input: JsonSchema; output: JsonSchema };
}

/** Names the Temporal task queue of a model version. */
export function taskQueueOf(model: Pick<ModelVersion, "endpoint" | "version">): string {
  return `gpu/${model.endpoint}/${model.version}`;
}

/** The activities for values of pipelines that are too large for Temporal. They lie in the object store. */
import { ApplicationFailure } from "@temporalio/common";
import { FairSemaphore } from "../../core/concurrency/fair-semaphore.ts";
import type { ErrorCode } from "../../core/errors/catalogue.ts";
import { type ErrorInfo, type InputFault, isTemperaError } from "../../core/errors/tempera-error.ts";
import type { CountedObjectStores } from "../../core/files/counted-object.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";
import { retrieve, store, storeApart } from "../../core/files/stored-value.ts";
import { writeJson } from "../../core/json/exact-json.ts";
import type { Json, JsonObject, Stored } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { JsonSchema } from "../../core/models/model.ts";
import { countStandIns, longTexts, withStandIns, withTexts } from "../../core/pipelines/stand-ins.ts";
import type { SchemaThread } from "../../registry/schema-thread/schema-thread.ts";

/**
 * Gives large values their share of the memory of a process: all that are read and written at a time have
 * `LIMITS.pipelineValuesBytesMax` bytes together, and owners take turns. One for all activities of a process.
 */
export interface ValueMemory {
  /** Does the work on a value of so many bytes when it is its owner's turn; on a small one at once. */
  run<T>(bytes: number, work: () => Promise<T>, ownerId?: string): Promise<T>;
}

/** @param ownerOf finds the owner of the workflow that calls; `undefined` when it is not known */
export function createValueMemory(ownerOf: () => Promise<string | undefined>): ValueMemory {
  const memory = new FairSemaphore(LIMITS.pipelineValuesBytesMax);
  return {
    async run(bytes, work, ownerId) {
      if (bytes <= LIMITS.pipelineValueBytesMax) return work();
      return memory.run(ownerId ?? (await ownerOf()) ?? "", bytes, work);
    },
  };
}

/**
 * Reads a stored value. Rejects with `pipeline_limit` when it is larger than `bytesMax`, and with
 * `payload_gone` when it was deleted; `store_unavailable` is retried. `what` names the value in the error.
 * With `standIns`, the long texts of a larger value are replaced by stand-ins.
 */
export function createLoadValue({
  objects,
  memory,
}: {
  objects: Pick<ObjectStore, "get" | "head">;
  memory: ValueMemory;
}) {
  return async function loadValue({
    ref,
    bytesMax,
    what,
    standIns = false,
  }: {
    ref: string;
    bytesMax: number;
    what: string;
    standIns?: boolean;
  }): Promise<Json> {
    const info = await objects.head(ref);
    if (!info) throw permanentFailure("payload_gone", `${what} is no longer stored; run the pipeline again.`);
    const limited = () => {
      const message = `${what} has ${info.bytes} bytes; a pipeline's own code may read ${bytesMax} at most`;
      return permanentFailure("pipeline_limit", standIns ? `${message} beside long texts.` : `${message}.`);
    };
    if (info.bytes > (standIns ? LIMITS.pipelineStoredBytesMax : bytesMax)) throw limited();
    return memory.run(info.bytes, async () => {
      const value = await retrieve<Json>(objects, { ref });
      if (info.bytes <= bytesMax) return value;
      const short = withStandIns(value, ref);
      if (Buffer.byteLength(writeJson(short)) > bytesMax) throw limited();
      return short;
    });
  };
}

/** The stores of values, which count for their owners. */
type ValueStores<Uses extends keyof ObjectStore> = Omit<CountedObjectStores, "objects"> & {
  objects: Pick<ObjectStore, Uses | "put">;
};

/**
 * Stores a value. With `apart`, it goes to the object store however small it is: no record may hold it.
 * `standIns` names the stored values whose long texts are put back first. Rejects with `pipeline_limit`,
 * `payload_gone` and `storage_limit`.
 */
export function createStoreValue({
  ownerOf,
  memory,
  ...stores
}: ValueStores<"get" | "head"> & {
  memory: ValueMemory;
  /** Finds the owner of the workflow that calls; `undefined` when it is not known. */
  ownerOf: () => Promise<string | undefined>;
}) {
  const { objects } = stores;
  const textsOf = async (ref: string): Promise<[string, string[]]> => [
    ref,
    longTexts(await retrieve<Json>(objects, { ref })),
  ];
  const bytesOf = async (ref: string): Promise<number> => {
    const info = await objects.head(ref);
    if (!info)
      throw permanentFailure("payload_gone", "A value of the pipeline is no longer stored; run it again.");
    return info.bytes;
  };
  return async function storeValue({
    key,
    value,
    apart,
    standIns = [],
  }: {
    key: string;
    value: JsonObject;
    apart?: true;
    standIns?: string[];
  }): Promise<Stored<JsonObject>> {
    const { pipelineStoredBytesMax } = LIMITS;
    const read = (await Promise.all(standIns.map(bytesOf))).reduce((sum, bytes) => sum + bytes, 0);
    // A text may be put back many times.
    const written = Math.min(read * countStandIns(value), pipelineStoredBytesMax);
    return memory.run(read + written, async () => {
      const texts = new Map(await Promise.all(standIns.map(textsOf)));
      const whole =
        standIns.length === 0
          ? value
          : (withTexts(value, texts, pipelineStoredBytesMax) as JsonObject | undefined);
      if (!whole)
        throw permanentFailure(
          "pipeline_limit",
          `The long texts of a value may have ${pipelineStoredBytesMax} characters together.`,
        );
      const put = apart ? storeApart : store;
      return withinLimits(put(stores, { ownerId: ownerOf, key }, whole));
    });
  };
}

/** Checks the input of a node that calls a pipeline, and completes it, as a submit does. */
export function createCheckPipelineInput({
  schemaThread,
  memory,
  ...stores
}: ValueStores<"get" | "head"> & {
  memory: ValueMemory;
  schemaThread: Pick<SchemaThread, "checkInput">;
}) {
  return async function checkPipelineInput({
    ownerId = "",
    schema,
    input,
    key,
    apart,
  }: {
    /** The owner of the request; absent from calls of an earlier version. */
    ownerId?: string;
    schema: JsonSchema;
    input: Stored<JsonObject>;
    /** The key of the completed input, when it is too large to travel inline. */
    key: string;
    /** No record may hold the input, however small it is. */
    apart?: true;
  }): Promise<{ input: Stored<JsonObject> } | { faults: InputFault[] }> {
    const bytes = "ref" in input ? ((await stores.objects.head(input.ref))?.bytes ?? 0) : 0;
    const check = async () => {
      const raw = await retrieve(stores.objects, input);
      const checked = await schemaThread.checkInput({ ownerId, schema }, raw);
      if ("faults" in checked) return checked;
      const put = apart ? storeApart : store;
      const location = { ownerId: ownerId || undefined, key };
      return { input: await withinLimits(put(stores, location, checked.input)) };
    };
    return memory.run(2 * bytes, check, ownerId);
  };
}

/** Awaits the storing of a value. Its owner has no room for it at a retry either. */
async function withinLimits<T>(storing: Promise<T>): Promise<T> {
  try {
    return await storing;
  } catch (error) {
    if (!isTemperaError(error) || error.code !== "storage_limit") throw error;
    throw permanentFailure(error.code, error.message);
  }
}

/** Returns a failure that a retry would only repeat. */
function permanentFailure(code: ErrorCode, message: string): ApplicationFailure {
  const error: ErrorInfo = { code, message };
  return ApplicationFailure.create({
    type: code,
    message,
    nonRetryable: true,
    details: [{ error }],
  });
}

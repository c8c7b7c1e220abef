/** The activities for values of pipelines that are too large for Temporal. They lie in the object store. */
import { ApplicationFailure } from "@temporalio/common";
import type { ErrorCode } from "../../core/errors/catalogue.ts";
import { type ErrorInfo, type InputFault, isTemperaError } from "../../core/errors/tempera-error.ts";
import type { CountedObjectStores } from "../../core/files/counted-object.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";
import { retrieve, store, storeApart } from "../../core/files/stored-value.ts";
import { writeJson } from "../../core/json/exact-json.ts";
import type { Json, JsonObject, Stored } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { JsonSchema } from "../../core/models/model.ts";
import { longTexts, withStandIns, withTexts } from "../../core/pipelines/stand-ins.ts";
import type { SchemaThread } from "../../registry/schema-thread/schema-thread.ts";

/**
 * Reads a stored value. Rejects with `pipeline_limit` when it is larger than `bytesMax`, and with
 * `payload_gone` when it was deleted; `store_unavailable` is retried. `what` names the value in the error.
 * With `standIns`, the long texts of a larger value are replaced by stand-ins.
 */
export function createLoadValue({ objects }: { objects: Pick<ObjectStore, "get" | "head"> }) {
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
    const value = await retrieve<Json>(objects, { ref });
    if (info.bytes <= bytesMax) return value;
    const short = withStandIns(value, ref);
    if (Buffer.byteLength(writeJson(short)) > bytesMax) throw limited();
    return short;
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
  ...stores
}: ValueStores<"get" | "head"> & {
  /** Finds the owner of the workflow that calls; `undefined` when it is not known. */
  ownerOf: () => Promise<string | undefined>;
}) {
  const { objects } = stores;
  const textsOf = async (ref: string): Promise<[string, string[]]> => {
    if (!(await objects.head(ref)))
      throw permanentFailure("payload_gone", "A value of the pipeline is no longer stored; run it again.");
    return [ref, longTexts(await retrieve<Json>(objects, { ref }))];
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
    const texts = new Map(await Promise.all(standIns.map(textsOf)));
    const { pipelineStoredBytesMax } = LIMITS;
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
  };
}

/** Checks the input of a node that calls a pipeline, and completes it, as a submit does. */
export function createCheckPipelineInput({
  schemaThread,
  ...stores
}: ValueStores<"get"> & {
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
    const checked = await schemaThread.checkInput({ ownerId, schema }, await retrieve(stores.objects, input));
    if ("faults" in checked) return checked;
    const put = apart ? storeApart : store;
    return { input: await withinLimits(put(stores, { ownerId: ownerId || undefined, key }, checked.input)) };
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

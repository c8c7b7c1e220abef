/** Values of pipelines that are too big to travel inside Temporal: what their workflows ask of the object store. */
import { ApplicationFailure } from "@temporalio/common";
import { type ErrorInfo, errorInfo, type InputFault, TemperaError } from "../core/errors/tempera-error.ts";
import type { Json, JsonObject, Stored } from "../core/json.ts";
import type { JsonSchema } from "../core/model.ts";
import type { ObjectStore } from "../core/ports/object-store.ts";
import { retrieve, store } from "../core/stored.ts";
import { createInputCheck } from "../registry/input-check.ts";

/** Reads what was put away. Rejects with `pipeline_limit` when it is larger than `bytesMax`; `store_unavailable` is tried again. */
export const createLoadValue = ({ objects }: { objects: Pick<ObjectStore, "get" | "head"> }) =>
  async function loadValue({ ref, bytesMax, what }: { ref: string; bytesMax: number; what: string }): Promise<Json> {
    const bytes = (await objects.head(ref))?.bytes ?? 0;
    if (bytes > bytesMax) {
      throw refusal(
        new TemperaError("pipeline_limit", `${what} is ${bytes} bytes; what a pipeline looks into itself may have ${bytesMax} at most.`),
      );
    }
    return retrieve<Json>(objects, { ref });
  };

/** Puts a value away that is too big to travel. */
export const createStoreValue = ({ objects }: { objects: Pick<ObjectStore, "put"> }) =>
  async function storeValue({ key, value }: { key: string; value: JsonObject }): Promise<Stored<JsonObject>> {
    return store(objects, key, value);
  };

/** Checks what a node gives to the pipeline that it calls, as a submit does, and completes it. */
export const createCheckPipelineInput = ({ objects }: { objects: Pick<ObjectStore, "get" | "put"> }) =>
  async function checkPipelineInput({
    schema,
    input,
    key,
  }: {
    schema: JsonSchema;
    input: Stored<JsonObject>;
    /** Where the completed input is put when it is too big to travel. */
    key: string;
  }): Promise<{ input: Stored<JsonObject> } | { faults: InputFault[] }> {
    const check = createInputCheck({ schemas: { input: schema, output: {} }, restrictions: [] });
    const checked = check(await retrieve(objects, input));
    return "faults" in checked ? checked : { input: await store(objects, key, checked.input) };
  };

/** An error that another try would only repeat. */
function refusal(error: TemperaError): ApplicationFailure {
  const info: ErrorInfo = errorInfo(error);
  return ApplicationFailure.create({ type: info.code, message: info.message, nonRetryable: true, details: [{ error: info }] });
}

/**
 * Values of pipelines that are too big to travel inside Temporal: what their workflows ask of the object
 * store.
 */
import { ApplicationFailure } from "@temporalio/common";
import { type ErrorInfo, errorInfo, type InputFault, TemperaError } from "../../core/errors/tempera-error.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";
import { retrieve, store, storeApart } from "../../core/files/stored-value.ts";
import type { Json, JsonObject, Stored } from "../../core/json/json.ts";
import type { JsonSchema } from "../../core/models/model.ts";
import { createInputCheck } from "../../registry/input-check.ts";

/**
 * Reads what was put away. Rejects with `pipeline_limit` when it is larger than `bytesMax`, and with
 * `payload_gone` when it was deleted; `store_unavailable` is tried again.
 */
export const createLoadValue = ({ objects }: { objects: Pick<ObjectStore, "get" | "head"> }) =>
  async function loadValue({
    ref,
    bytesMax,
    what,
  }: {
    ref: string;
    bytesMax: number;
    what: string;
  }): Promise<Json> {
    const there = await objects.head(ref);
    if (!there)
      throw refusal(new TemperaError("payload_gone", `${what} is no longer stored; run the pipeline again.`));
    const { bytes } = there;
    if (bytes > bytesMax) {
      throw refusal(
        new TemperaError(
          "pipeline_limit",
          `${what} is ${bytes} bytes; what a pipeline looks into itself may have ${bytesMax} at most.`,
        ),
      );
    }
    return retrieve<Json>(objects, { ref });
  };

/** Puts a value away that is too big to travel; `apart`: one that no record may hold, however small it is. */
export const createStoreValue = ({ objects }: { objects: Pick<ObjectStore, "put"> }) =>
  async function storeValue({
    key,
    value,
    apart,
  }: {
    key: string;
    value: JsonObject;
    apart?: true;
  }): Promise<Stored<JsonObject>> {
    return apart ? storeApart(objects, key, value) : store(objects, key, value);
  };

/** Checks what a node gives to the pipeline that it calls, as a submit does, and completes it. */
export const createCheckPipelineInput = ({ objects }: { objects: Pick<ObjectStore, "get" | "put"> }) =>
  async function checkPipelineInput({
    schema,
    input,
    key,
    apart,
  }: {
    schema: JsonSchema;
    input: Stored<JsonObject>;
    /** Where the completed input is put when it is too big to travel. */
    key: string;
    /** No record may hold it, however small it is. */
    apart?: true;
  }): Promise<{ input: Stored<JsonObject> } | { faults: InputFault[] }> {
    const check = createInputCheck({ schemas: { input: schema, output: {} }, restrictions: [] });
    const checked = check(await retrieve(objects, input));
    if ("faults" in checked) return checked;
    return { input: await (apart ? storeApart : store)(objects, key, checked.input) };
  };

/** An error that another try would only repeat. */
function refusal(error: TemperaError): ApplicationFailure {
  const info: ErrorInfo = errorInfo(error);
  return ApplicationFailure.create({
    type: info.code,
    message: info.message,
    nonRetryable: true,
    details: [{ error: info }],
  });
}

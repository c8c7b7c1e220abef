import { createHash } from "node:crypto";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { writeJson } from "../../core/json/exact-json.ts";
import type { JsonObject } from "../../core/json/json.ts";
import type { ModelVersion } from "../../core/models/model.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import { createInputCheck, type InputCheck } from "../../registry/input-check.ts";
import type { Coercion } from "../../registry/lax-values.ts";

/**
 * Checks the input of a pipeline's node and completes it as a submit does. An absent seed is derived from the
 * node's request id, so that another attempt generates the same image. Throws `input_invalid` with the
 * faults.
 *
 * @param warn receives a message about fields that the model does not know
 */
export type CheckNode = (
  job: Pick<JobSpec, "requestId" | "endpoint" | "version">,
  input: JsonObject,
  warn: (message: string) => void,
) => JsonObject;

/** Creates a check with the schemas of this worker's models. Each schema is compiled once. */
export function createCheckNode(
  findModel: (endpoint: string, version: string) => ModelVersion | undefined,
  coercion?: Coercion,
): CheckNode {
  const checks = new Map<string, InputCheck>();
  const checkOf = (endpoint: string, version: string): InputCheck => {
    const key = `${endpoint}@${version}`;
    const known = checks.get(key);
    if (known) return known;
    const model = findModel(endpoint, version);
    if (!model)
      throw new TemperaError("runner_scheduling_failure", `This worker has no ${endpoint} ${version}.`);
    const check = createInputCheck(model, { coercion });
    checks.set(key, check);
    return check;
  };
  return ({ requestId, endpoint, version }, input, warn) => {
    const checked = checkOf(endpoint, version)(input, (low, high) => seedOf(requestId, low, high));
    if ("faults" in checked) throw new TemperaError("input_invalid", undefined, { faults: checked.faults });
    if (checked.ignored.length > 0) {
      const names = checked.ignored.slice(0, 20).map((name) => writeJson(name.slice(0, 80)));
      warn(
        `Ignored ${names.length === 1 ? "a field" : "fields"} this model does not know: ${names.join(", ")}`,
      );
    }
    return checked.input;
  };
}

/** Returns an integer within the bounds, always the same one for a request. */
function seedOf(requestId: string, low: number, high: number): number {
  return low + (createHash("sha256").update(requestId).digest().readUIntBE(0, 6) % (high - low + 1));
}

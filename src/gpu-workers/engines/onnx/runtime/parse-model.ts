/**
 * What is wrong with a manifest's parameters or with an input, said once and the same way by every runner.
 */
import type { z } from "zod";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import type { JsonObject } from "../../../../core/json/json.ts";

/** @throws an error that names every wrong field: the model cannot be loaded */
export function parseParameters<S extends z.ZodType>(schema: S, parameters: JsonObject): z.infer<S> {
  const checked = schema.safeParse(parameters);
  if (checked.success) return checked.data;
  throw new Error(
    `parameters of model.yaml: ${checked.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; ")}`,
  );
}

/** @throws `input_invalid` with every fault: the model's schema let through what the runner cannot take */
export function parseInput<S extends z.ZodType>(schema: S, raw: JsonObject): z.infer<S> {
  const checked = schema.safeParse(raw);
  if (checked.success) return checked.data;
  const faults = checked.error.issues.map(({ path, message }) => ({
    loc: ["body", ...path.map((part) => (typeof part === "number" ? part : String(part)))],
    msg: message,
    type: "value_error",
  }));
  throw new TemperaError("input_invalid", undefined, { faults });
}

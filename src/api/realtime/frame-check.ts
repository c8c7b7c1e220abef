/** Checks realtime inputs with their model's schema, which may allow bytes in place of some values. */
import type { InputFault } from "../../core/errors/tempera-error.ts";
import type { Json, JsonObject } from "../../core/json/json.ts";
import type { FrameObject, FrameValue } from "../../fal/msgpack.ts";
import type { ModelRoute } from "../../registry/registry.ts";

/**
 * Replaces bytes during the check of the schema: JSON Schema has no bytes, and describes them as a string of
 * `format: binary`.
 */
const PLACEHOLDER = "bytes";

export type CheckedFrame = { input: FrameObject } | { faults: InputFault[] };

/**
 * Checks an input: gives it with defaults applied and unknown fields left out, or its faults. The GPU worker
 * fetches the files that it names.
 *
 * Bytes are accepted in a field whose schema has `"format": "binary"`, and anywhere inside a field whose
 * schema has no type at all.
 */
export function checkFrame(
  { model, checkInput }: Pick<ModelRoute, "model" | "checkInput">,
  frame: FrameObject,
): CheckedFrame {
  const found = findBytes(frame);
  const properties = (model.schemas.input.properties ?? {}) as Record<string, JsonObject>;
  const misplaced = found.filter(({ path }) => {
    const [field] = path;
    const known = Object.hasOwn(properties, field as string) ? properties[field as string] : undefined;
    return known !== undefined && !takesBytes(known);
  });
  if (misplaced.length > 0) {
    return {
      faults: misplaced.slice(0, 10).map(({ path }) => ({
        loc: ["body", ...path],
        msg: "Input should not be bytes",
        type: "value_error",
      })),
    };
  }
  const replaced = found.length > 0 ? replaceBytes(frame) : frame;
  const checked = checkJson({ checkInput }, replaced as JsonObject);
  if ("faults" in checked) return checked;
  for (const { path, bytes } of found) putBack(checked.input, path, bytes);
  return checked;
}

/** Checks an input that was sent as JSON, which has no bytes. */
export function checkJson({ checkInput }: Pick<ModelRoute, "checkInput">, frame: Json): CheckedFrame {
  const checked = checkInput(frame);
  return "faults" in checked ? checked : { input: checked.input };
}

const takesBytes = (schema: JsonObject): boolean => {
  const branches = [schema, ...((schema.anyOf ?? schema.oneOf ?? []) as JsonObject[])];
  if (branches.some(({ format }) => format === "binary")) return true;
  return !["type", "anyOf", "oneOf", "allOf", "$ref", "enum", "const"].some((word) =>
    Object.hasOwn(schema, word),
  );
};

interface FoundBytes {
  path: (string | number)[];
  bytes: Uint8Array;
}

function findBytes(frame: FrameObject): FoundBytes[] {
  const found: FoundBytes[] = [];
  const path: (string | number)[] = [];
  const look = (value: FrameValue, step: string | number): void => {
    if (typeof value !== "object" || value === null) return;
    path.push(step);
    if (value instanceof Uint8Array) found.push({ path: [...path], bytes: value });
    else if (Array.isArray(value)) value.forEach(look);
    else for (const name of Object.keys(value)) look(value[name] as FrameValue, name);
    path.pop();
  };
  for (const name of Object.keys(frame)) look(frame[name] as FrameValue, name);
  return found;
}

function replaceBytes(value: FrameValue): Json {
  if (value instanceof Uint8Array) return PLACEHOLDER;
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(replaceBytes);
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, replaceBytes(item)]));
}

/**
 * Puts bytes back at their path. Unknown fields, which the check has removed, are skipped with their bytes.
 */
function putBack(input: FrameObject, path: (string | number)[], bytes: Uint8Array): void {
  let at: FrameValue | undefined = input;
  for (const step of path.slice(0, -1)) {
    if (typeof at !== "object" || at === null || at instanceof Uint8Array) return;
    at = (at as Record<string | number, FrameValue>)[step];
  }
  const last = path.at(-1) as string | number;
  if (typeof at === "object" && at !== null && Object.hasOwn(at, last))
    (at as Record<string | number, FrameValue>)[last] = bytes;
}

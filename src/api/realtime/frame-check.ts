/**
 * Checks a realtime input with its model's schema, in which bytes may stand where the schema leaves room for
 * them.
 */
import type { InputFault } from "../../core/errors/tempera-error.ts";
import { inputUrls } from "../../core/files/input-file.ts";
import type { Json, JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { FrameObject, FrameValue } from "../../fal/msgpack.ts";
import type { ModelRoute } from "../../registry/registry.ts";

/**
 * What stands for bytes while the schema is looked at: JSON Schema has no bytes, and a string of `format:
 * binary` means them.
 */
const STAND_IN = "bytes";

export type CheckedFrame = { input: FrameObject } | { faults: InputFault[] };

/**
 * The input with defaults applied and unknown fields left out, or its faults. Files that it names are a
 * fault.
 *
 * Bytes pass in a field whose schema says `"format": "binary"`, and anywhere inside one that names no type at
 * all.
 */
export function checkFrame(
  { model, checkInput }: Pick<ModelRoute, "model" | "checkInput">,
  frame: FrameObject,
): CheckedFrame {
  const found: { path: (string | number)[]; bytes: Uint8Array }[] = [];
  const replaced = replaceBytes(frame, [], found) as JsonObject;
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
  const checked = checkJson({ checkInput }, replaced);
  if ("faults" in checked) return checked;
  for (const { path, bytes } of found) putBack(checked.input, path, bytes);
  return checked;
}

/** The same for a frame that was JSON: it holds no bytes, so the schema sees it as it is. */
export function checkJson({ checkInput }: Pick<ModelRoute, "checkInput">, frame: Json): CheckedFrame {
  const checked = checkInput(frame);
  if ("faults" in checked) return checked;
  // A session has no folder of fetched files, and an address as it came might be read by the engine itself
  // (`file:///etc/passwd`).
  const named = inputUrls(checked.input);
  if (named.length === 0) return { input: checked.input };
  const msg = "A realtime input names no files; send bytes, or call the model on the queue";
  return {
    faults: named
      .slice(0, LIMITS.inputFaultsMax)
      .map(({ loc }) => ({ loc: ["body", ...loc], msg, type: "value_error" })),
  };
}

const takesBytes = (schema: JsonObject): boolean => {
  const branches = [schema, ...((schema.anyOf ?? schema.oneOf ?? []) as JsonObject[])];
  if (branches.some(({ format }) => format === "binary")) return true;
  return !["type", "anyOf", "oneOf", "allOf", "$ref", "enum", "const"].some((word) =>
    Object.hasOwn(schema, word),
  );
};

function replaceBytes(
  value: FrameValue,
  path: (string | number)[],
  found: { path: (string | number)[]; bytes: Uint8Array }[],
): Json {
  if (value instanceof Uint8Array) {
    found.push({ path, bytes: value });
    return STAND_IN;
  }
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item, index) => replaceBytes(item, [...path, index], found));
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [name, replaceBytes(item, [...path, name], found)]),
  );
}

/** Unknown fields are gone from the checked input, and their bytes with them. */
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

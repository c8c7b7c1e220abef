import type { Context } from "hono";
import type { Json, JsonObject } from "../../core/json/json.ts";
import { TREES } from "../../fal/index.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { addressOf } from "./address.ts";

/**
 * Returns an output with the addresses of this platform's files as its caller reaches them. GPU workers write
 * them without knowing who will read: the caller may use HTTPS, another name of the gateway, or one of fal's
 * host names.
 */
export function followCaller(
  c: Context,
  { publicUrl, outputUrl }: Pick<ApiDependencies, "publicUrl" | "outputUrl">,
  output: JsonObject,
): JsonObject {
  if (outputUrl === undefined) return output;
  const written = `${outputUrl}${TREES.files.prefix}/`;
  const reached = `${addressOf(c, "files", publicUrl)}/`;
  return written === reached ? output : (replaceStart(output, written, reached) as JsonObject);
}

/** Replaces the beginning of every string that begins so. */
function replaceStart(value: Json, from: string, to: string): Json {
  if (typeof value === "string") return value.startsWith(from) ? to + value.slice(from.length) : value;
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => replaceStart(item, from, to));
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [name, replaceStart(item, from, to)]),
  );
}

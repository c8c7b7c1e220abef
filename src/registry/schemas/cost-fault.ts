import type { ModelVersion } from "../../core/models/model.ts";
import { recursionFault } from "./schema-recursion.ts";
import { weightFault } from "./schema-weight.ts";

/** Words what is wrong with an input schema that, with the restrictions, costs too much to be served. */
export const costFault = (version: Pick<ModelVersion, "schemas" | "restrictions">): string | undefined =>
  weightFault(version) ?? recursionFault(version);

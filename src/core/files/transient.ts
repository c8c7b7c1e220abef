/** Values that are kept only until delivery, and those that were deleted. Workflow code imports this file. */
import type { Stored } from "../json/json.ts";

/** Folder of values that are kept only until delivery, apart from all records, which have only their keys. */
export const TRANSIENT_FOLDER = "transient/";

/** Gives the folder of one request. */
export const transientFolder = (requestId: string): string => `${TRANSIENT_FOLDER}${requestId}/`;

/** Gives the key under which a value is stored, which adds digits to it (`stored-value.ts`). */
export function transientKey(requestId: string, what: "input" | "output"): string {
  return `${transientFolder(requestId)}${what}.json`;
}

/** Tells whether a value is kept only until delivery. */
export function isTransient(stored: Stored<unknown>): boolean {
  return "ref" in stored && stored.ref.startsWith(TRANSIENT_FOLDER);
}

/** The reference that replaces a deleted value: a key without an object. */
export const TOMBSTONE = { ref: "gone" } as const;

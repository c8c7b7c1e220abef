import { writeJson } from "../json/exact-json.ts";
import { type CrashRecord, type CrashRefusal, NO_INPUT, treatmentOf } from "./crash.ts";

/** A refusal in force: of one input of an owner, or of all its requests for a model version. */
export interface ListedRefusal extends CrashRefusal {
  endpoint: string;
  version: string;
  ownerId: string;
  /** Absent: all requests of the owner for the model version are refused. */
  inputDigest?: string;
}

/**
 * Lists the refusals that records of crashes amount to, each with a key by which it is ordered.
 *
 * @param ofOwnerMax crashes of one owner and model version from which on all its requests are refused
 */
export function crashRefusals(
  records: readonly CrashRecord[],
  ofOwnerMax: number,
): (ListedRefusal & { key: string })[] {
  const refusals: (ListedRefusal & { key: string })[] = [];
  const ofOwners = new Map<string, CrashRecord[]>();
  for (const record of records) {
    const key = writeJson([record.endpoint, record.version, record.ownerId]);
    ofOwners.set(key, [...(ofOwners.get(key) ?? []), record]);
  }
  for (const ofOwner of ofOwners.values()) {
    for (const digest of new Set([NO_INPUT, ...ofOwner.map(({ inputDigest }) => inputDigest)])) {
      const { refusal } = treatmentOf(ofOwner, () => digest, ofOwnerMax);
      const isOfOwner = digest === NO_INPUT;
      // The refusal of an owner is that of each of its inputs too, and is listed once.
      if (!refusal || isOfOwner !== (refusal.code === "engine_crash_limit")) continue;
      const { endpoint, version, ownerId } = ofOwner[0] as CrashRecord;
      const named = { endpoint, version, ownerId, ...(!isOfOwner && { inputDigest: digest }) };
      refusals.push({ ...named, ...refusal, key: writeJson([endpoint, version, ownerId, digest]) });
    }
  }
  return refusals.sort((a, b) => (a.key < b.key ? -1 : 1));
}

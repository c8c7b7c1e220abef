/**
 * A crash record says that a request was on an engine when the engine crashed or hung. The records of the
 * last hour decide how the next request of the same owner is treated (docs/decisions/0039): whether it is
 * refused, and with whom it may share an engine.
 */
import type { Json } from "../json/json.ts";
import { nativeInputHash } from "../json/native-input-hash.ts";
import { LIMITS } from "../limits.ts";
import type { EngineRun } from "./engine.ts";

/** The company of a request at a crash: no other request, others of its own owner, or other owners'. */
export type CrashCompany = "alone" | "owner" | "shared";

export interface CrashRecord {
  /** The same in all records of one crash. */
  crashId: string;
  endpoint: string;
  version: string;
  ownerId: string;
  inputDigest: string;
  requestId: string;
  company: CrashCompany;
  /** The same input has run to an end since: it is no suspect any more. */
  cleared: boolean;
  /** Time since the crash. */
  ageMs: number;
}

/** The refusal of a request whose input or owner has crashed engines. */
export interface CrashRefusal {
  code: "input_quarantined" | "engine_crash_limit";
  message: string;
  /** Time until it is over. */
  forMs: number;
}

/** The treatment of a request because of earlier crashes. */
export interface Treatment {
  refusal?: CrashRefusal;
  /** Its input is a suspect: it runs with no other request on its engine. */
  alone: boolean;
  /** Its owner is a suspect: no request of another owner runs beside it. */
  apart: boolean;
}

/** The digest in a record that is held against its owner alone: no input has it. */
export const NO_INPUT = "";

/** Crashes that an owner's requests had just left, after which its requests are kept apart. */
const LEFT_CRASHES_MAX = 2;

const INNOCENT: Treatment = { alone: false, apart: false };

/**
 * Returns the digest by which an input is recognised when it is sent again. Files count by their content. The
 * seed is left out: an absent one is drawn at the submit, so it differs each time.
 */
export function crashDigest({ input, files = [] }: Pick<EngineRun, "input" | "files">): string {
  const { seed: _, ...rest } = input;
  return nativeInputHash({ input: rest, files: files.map(({ sha256 }) => sha256) } as Json);
}

/**
 * Judges a request by the crash records of its owner for the same model version:
 *
 * - **quarantined**: its input was on an engine at two crashes, at one of them alone.
 * - **limited**: its owner alone was on `ofOwnerMax` engines that crashed, whatever the inputs. Cleared
 *   records count here, so that inputs which crash only now and then are bounded too.
 * - **alone**: its input was on an engine at a crash and has not run to an end since.
 * - **apart**: another input of its owner was; or its owner had just left two engines that crashed, by a
 *   cancel for example, so that its next crash has no other owner's requests beside it.
 *
 * @param digest is asked only where records exist
 */
export function treatmentOf(
  ofOwner: readonly CrashRecord[],
  digest: () => string,
  ofOwnerMax: number,
): Treatment {
  const recent = ofOwner.filter(({ ageMs }) => ageMs < LIMITS.crashKeptMs);
  if (recent.length === 0) return INNOCENT;
  const inputDigest = digest();
  const ofInput = recent.filter((record) => record.inputDigest === inputDigest && !record.cleared);
  const refusal = quarantine(ofInput) ?? ownerLimit(recent, ofOwnerMax);
  return {
    ...(refusal && { refusal }),
    alone: ofInput.length > 0,
    apart: recent.some(({ cleared }) => !cleared) || hasLeftCrashes(recent),
  };
}

function hasLeftCrashes(recent: readonly CrashRecord[]): boolean {
  const left = recent.filter(({ inputDigest }) => inputDigest === NO_INPUT);
  return newestOfCrashes(left).length >= LEFT_CRASHES_MAX;
}

function quarantine(ofInput: readonly CrashRecord[]): CrashRefusal | undefined {
  const [last, before] = newestOfCrashes(ofInput);
  if (!last || !before || !ofInput.some(({ company }) => company !== "shared")) return undefined;
  const forMs = LIMITS.crashKeptMs - before.ageMs;
  const requests =
    last.requestId === before.requestId
      ? `twice in the request ${last.requestId}`
      : `in the requests ${before.requestId} and ${last.requestId}`;
  return {
    code: "input_quarantined",
    message:
      `This input crashed or hung the engine of ${last.endpoint} ${last.version} ${requests}. It is ` +
      `refused for ${minutes(forMs)}; change the input, or send it again then.`,
    forMs,
  };
}

function ownerLimit(recent: readonly CrashRecord[], ofOwnerMax: number): CrashRefusal | undefined {
  const crashes = newestOfCrashes(recent.filter(({ company }) => company !== "shared"));
  const last = crashes[ofOwnerMax - 1];
  if (!last) return undefined;
  const forMs = LIMITS.crashKeptMs - last.ageMs;
  return {
    code: "engine_crash_limit",
    message:
      `The requests of this owner crashed or hung the engine of ${last.endpoint} ${last.version} ` +
      `${crashes.length} times within an hour. Its requests for this model are refused for ` +
      `${minutes(forMs)}; find out which inputs do it, and leave them out then.`,
    forMs,
  };
}

/** Picks one record of each crash, the newest crash first. */
function newestOfCrashes(records: readonly CrashRecord[]): CrashRecord[] {
  const ofCrash = new Map(records.map((record) => [record.crashId, record]));
  return [...ofCrash.values()].sort((a, b) => a.ageMs - b.ageMs);
}

function minutes(ms: number): string {
  return `${Math.max(1, Math.ceil(ms / 60_000))} min`;
}

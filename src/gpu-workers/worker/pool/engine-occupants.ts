/**
 * The occupants of one engine: the runs and sessions that it works on, and those that have just left it. When
 * the engine crashes, they tell who can have caused it.
 */
import type { CrashCompany } from "../../../core/engines/crash.ts";
import type { Accountable } from "./crash-ledger.ts";

export interface Occupant extends Accountable {
  /** A realtime session. It is long, so runs of suspects share an engine with it. */
  isSession: boolean;
}

/** An occupant at a crash, as it is recorded. */
export type Suspect = Occupant & { company: CrashCompany; cleared: boolean };

interface Left {
  occupant: Occupant;
  atMs: number;
  /** Its caller cancelled it, so the engine may hang in it; or its connection broke before the crash. */
  isAbandoned: boolean;
}

export class EngineOccupants {
  readonly #present = new Set<Occupant>();
  readonly #graceMs: number;
  readonly #nowMs: () => number;
  #left: Left[] = [];

  /** @param graceMs time after which an engine that hangs was found and ended */
  constructor(graceMs: number, nowMs: () => number) {
    this.#graceMs = graceMs;
    this.#nowMs = nowMs;
  }

  /** Another engine has been loaded: who has left the one before is no suspect. */
  begin(): void {
    this.#left = [];
  }

  enter(occupant: Occupant): void {
    this.#present.add(occupant);
  }

  /**
   * Removes an occupant. One that began after another was cancelled and has ended clears that other one: the
   * engine does not hang in it.
   */
  leave(occupant: Occupant, { isAbandoned }: Pick<Left, "isAbandoned">): void {
    if (!this.#present.delete(occupant)) return;
    const atMs = this.#nowMs();
    const clearedUntilMs = isAbandoned ? Number.NEGATIVE_INFINITY : occupant.begunMs;
    const kept = this.#left.filter(
      (left) => left.isAbandoned && left.atMs >= clearedUntilMs && atMs - left.atMs < this.#graceMs,
    );
    this.#left = [...kept, { occupant, atMs, isAbandoned }];
  }

  /**
   * Returns who was on the engine when it crashed: those present, and those that were cancelled moments ago.
   * An idle engine that crashes moments after its last run counts against the owner of that run, not against
   * its input.
   */
  atCrash(): Suspect[] {
    const sinceMs = this.#nowMs() - this.#graceMs;
    const recent = this.#left.filter(({ atMs }) => atMs > sinceMs);
    const abandoned = recent.filter(({ isAbandoned }) => isAbandoned).map(({ occupant }) => occupant);
    const suspects = [...this.#present, ...abandoned];
    const last = recent.at(-1)?.occupant;
    if (suspects.length === 0 && last) return [{ ...last, company: "owner", cleared: true }];
    return suspects.map((suspect) => ({ ...suspect, company: companyOf(suspect, suspects), cleared: false }));
  }
}

/** A suspect run has shared its engine with sessions already: they do not excuse it at the next crash. */
function companyOf(suspect: Occupant, all: readonly Occupant[]): CrashCompany {
  const others = all.filter((other) => other !== suspect && (suspect.isSession || !other.isSession));
  if (others.length === 0) return "alone";
  return others.every(({ ownerId }) => ownerId === suspect.ownerId) ? "owner" : "shared";
}

/**
 * The occupants of one engine: the runs and sessions that it works on, and those that have just left it. When
 * the engine crashes, they tell who can have caused it.
 *
 * An engine goes on with a run for a moment after its caller has cancelled it, and does not say when it has
 * ended: it is asked for the number of runs that it has in hand.
 */
import { sleep } from "../../../core/concurrency/sleep.ts";
import { type CrashCompany, NO_INPUT } from "../../../core/engines/crash.ts";
import type { Accountable } from "./crash-ledger.ts";

export interface Occupant extends Accountable {
  /** A realtime session. It is long, so runs of suspects share an engine with it. */
  isSession: boolean;
}

/** An occupant at a crash, as it is recorded. */
export type Suspect = Occupant & { company: CrashCompany; cleared: boolean };

/**
 * The way in which an occupant left: the engine has ended it; its caller cancelled it, so that the engine may
 * still work on it; or its connection broke, which is how an engine's end begins.
 */
export type Leaving = "ended" | "cancelled" | "disconnected";

interface Left {
  occupant: Occupant;
  atMs: number;
  how: Leaving;
}

/** Pause before an engine is asked again whether it has ended the runs that were cancelled. */
const ASK_AGAIN_MS = 100;

export class EngineOccupants {
  readonly #present = new Set<Occupant>();
  readonly #graceMs: number;
  readonly #nowMs: () => number;
  #left: Left[] = [];
  /** Counts the engines that were loaded one after the other. */
  #engines = 0;
  /** The wait that all callers of `settle` share. */
  #settling: Promise<void> | undefined;

  /** @param graceMs time after which an engine that hangs was found and ended */
  constructor(graceMs: number, nowMs: () => number) {
    this.#graceMs = graceMs;
    this.#nowMs = nowMs;
  }

  /** Another engine has been loaded: who has left the one before is no suspect. */
  begin(): void {
    this.#left = [];
    this.#engines += 1;
  }

  enter(occupant: Occupant): void {
    this.#present.add(occupant);
  }

  /**
   * Removes an occupant. One that began after another was cancelled and has ended clears that other one: the
   * engine does not hang in it.
   */
  leave(occupant: Occupant, how: Leaving): void {
    if (!this.#present.delete(occupant)) return;
    const atMs = this.#nowMs();
    const clearedUntilMs = how === "ended" ? occupant.begunMs : Number.NEGATIVE_INFINITY;
    const kept = this.#left.filter(
      (left) => left.how !== "ended" && left.atMs >= clearedUntilMs && atMs - left.atMs < this.#graceMs,
    );
    this.#left = [...kept, { occupant, atMs, how }];
  }

  /**
   * Waits until the engine has ended the runs that were cancelled, which are no suspects then, or has none of
   * the last moments. The engine is asked once for all who wait.
   *
   * @param inHand asks the engine that is loaded for the number of runs it has in hand; `undefined` when it
   * does not answer
   */
  async settle(inHand: () => Promise<number | undefined>): Promise<void> {
    if (!this.#hasCancelled()) return;
    this.#settling ??= this.#askUntilSettled(inHand);
    await this.#settling;
  }

  async #askUntilSettled(inHand: () => Promise<number | undefined>): Promise<void> {
    try {
      // Not a `while`: this must not end before its promise is stored.
      do {
        const engine = this.#engines;
        const requestedMs = this.#nowMs();
        const count = await inHand();
        // The answer of an engine that was replaced says nothing about the next one.
        if (engine !== this.#engines) continue;
        if (count === undefined) return;
        if (count > 0) await sleep(ASK_AGAIN_MS);
        else for (const left of this.#left) if (left.atMs <= requestedMs) left.how = "ended";
      } while (this.#hasCancelled());
    } finally {
      // At once: whoever cancels from now on needs another answer.
      this.#settling = undefined;
    }
  }

  #hasCancelled(): boolean {
    return this.#recent().some(({ how }) => how === "cancelled");
  }

  /**
   * Returns who was on the engine when it crashed, and what each is held responsible for:
   *
   * - those present, with their input;
   * - those cancelled moments ago, with their input only when the engine hung. An engine that ends by itself
   *   may still have worked on them: this counts against their owner.
   * - the last one that ended, when nobody else is there: this counts against its owner.
   */
  atCrash({ hasHung }: { hasHung: boolean }): Suspect[] {
    const recent = this.#recent();
    const gone = recent.filter(({ how }) => how === "cancelled").map(({ occupant }) => occupant);
    const broken = recent.filter(({ how }) => how === "disconnected").map(({ occupant }) => occupant);
    const all = [...this.#present, ...broken, ...gone];
    const last = recent.at(-1)?.occupant;
    if (all.length === 0) return last ? [withoutInput({ ...last, company: "owner", cleared: true })] : [];
    return all.map((occupant) => {
      const suspect = { ...occupant, company: companyOf(occupant, all), cleared: false };
      return gone.includes(occupant) && !hasHung ? withoutInput(suspect) : suspect;
    });
  }

  #recent(): Left[] {
    const sinceMs = this.#nowMs() - this.#graceMs;
    return this.#left.filter(({ atMs }) => atMs > sinceMs);
  }
}

/** A suspect run has shared its engine with sessions already: they do not excuse it at the next crash. */
function companyOf(suspect: Occupant, all: readonly Occupant[]): CrashCompany {
  const others = all.filter((other) => other !== suspect && (suspect.isSession || !other.isSession));
  if (others.length === 0) return "alone";
  return others.every(({ ownerId }) => ownerId === suspect.ownerId) ? "owner" : "shared";
}

/** Holds a crash against the owner alone. */
function withoutInput(suspect: Suspect): Suspect {
  return { ...suspect, digest: () => NO_INPUT, cleared: true };
}

import { describe, expect, it } from "vitest";
import { NO_INPUT } from "../../../core/engines/crash.ts";
import { EngineOccupants, type Occupant } from "./engine-occupants.ts";

const GRACE_MS = 1000;
const occupant = (ownerId: string, requestId: string, isSession = false): Occupant => ({
  requestId,
  ownerId,
  digest: () => requestId,
  begunMs: 0,
  isSession,
});

function setUp() {
  const clock = { nowMs: 0 };
  const occupants = new EngineOccupants(GRACE_MS, () => clock.nowMs);
  const enter = (...all: Occupant[]) => {
    for (const each of all) occupants.enter(each);
  };
  const atCrash = (hasHung = false) =>
    occupants
      .atCrash({ hasHung })
      .map(({ requestId, company, cleared, digest }) =>
        digest() === NO_INPUT ? [requestId, company, "owner only"] : [requestId, company, cleared],
      );
  return { clock, occupants, enter, atCrash };
}

function deferred<T>() {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

describe("the suspects of a crash", () => {
  it("are those on the engine, with their company", () => {
    const one = setUp();
    one.enter(occupant("ann", "a"));
    expect(one.atCrash()).toEqual([["a", "alone", false]]);
    one.enter(occupant("ann", "b"));
    expect(one.atCrash()).toEqual([
      ["a", "owner", false],
      ["b", "owner", false],
    ]);
    one.enter(occupant("bob", "c"));
    expect(one.atCrash().map(([, company]) => company)).toEqual(["shared", "shared", "shared"]);
  });

  it("are blamed beside sessions of others, which are not", () => {
    const { enter, atCrash } = setUp();
    enter(occupant("ann", "run"), occupant("bob", "session", true));
    expect(atCrash()).toEqual([
      ["run", "alone", false],
      ["session", "shared", false],
    ]);
  });

  it("include a run that was cancelled moments ago, when the engine hung", () => {
    const { clock, occupants, enter, atCrash } = setUp();
    const [cancelled, present] = [occupant("mallory", "cancelled"), occupant("ann", "present")];
    enter(cancelled, present);
    occupants.leave(cancelled, "cancelled");
    expect(atCrash(true)).toEqual([
      ["present", "shared", false],
      ["cancelled", "shared", false],
    ]);
    clock.nowMs = GRACE_MS;
    expect(atCrash(true)).toEqual([["present", "alone", false]]);
  });

  it("hold a run that was cancelled against its owner alone, when the engine ended by itself", () => {
    const { occupants, enter, atCrash } = setUp();
    const [cancelled, present] = [occupant("mallory", "cancelled"), occupant("ann", "present")];
    enter(cancelled, present);
    occupants.leave(cancelled, "cancelled");
    // The one that is there has an excuse: it is tried alone next.
    expect(atCrash()).toEqual([
      ["present", "shared", false],
      ["cancelled", "shared", "owner only"],
    ]);
    occupants.leave(present, "cancelled");
    expect(atCrash().map(([requestId, , against]) => [requestId, against])).toEqual([
      ["cancelled", "owner only"],
      ["present", "owner only"],
    ]);
  });

  it("include a run whose connection broke before the engine's end was seen", () => {
    const { occupants, enter, atCrash } = setUp();
    const broken = occupant("mallory", "broken");
    enter(broken);
    occupants.leave(broken, "disconnected");
    expect(atCrash()).toEqual([["broken", "alone", false]]);
  });

  it("leave out a cancelled run that the engine has ended: it has nothing in hand", async () => {
    const { occupants, enter, atCrash } = setUp();
    const cancelled = occupant("mallory", "cancelled");
    enter(cancelled);
    occupants.leave(cancelled, "cancelled");
    const counts = [1, 0];
    await occupants.settle(async () => counts.shift());
    expect(counts).toEqual([]);
    enter(occupant("ann", "crashing"));
    expect(atCrash(true)).toEqual([["crashing", "alone", false]]);
  });

  it("include a run that was cancelled after the engine was asked, or when it does not answer", async () => {
    const { clock, occupants, enter, atCrash } = setUp();
    const [first, second] = [occupant("mallory", "first"), occupant("mallory", "second")];
    enter(first, second);
    occupants.leave(first, "cancelled");
    const answers = [0, undefined];
    await occupants.settle(async () => {
      clock.nowMs++;
      occupants.leave(second, "cancelled");
      return answers.shift();
    });
    expect(answers).toEqual([]);
    expect(atCrash(true)).toEqual([["second", "alone", false]]);
  });

  it("leave out all cancelled runs at one answer of the engine, which is asked once for all", async () => {
    const { clock, occupants, enter, atCrash } = setUp();
    const runs = Array.from({ length: 50 }, (_, at) => occupant("mallory", `cancelled-${at}`));
    enter(...runs);
    const answers: ((count: number) => void)[] = [];
    const inHand = () => new Promise<number>((answer) => answers.push(answer));
    const settled = runs.map((run) => {
      occupants.leave(run, "cancelled");
      return occupants.settle(inHand);
    });
    expect(answers).toHaveLength(1);
    const late = occupant("mallory", "late");
    enter(late);
    clock.nowMs = 1;
    occupants.leave(late, "cancelled");
    settled.push(occupants.settle(inHand));
    // This answer is older than the last cancel, so the engine is asked again.
    answers[0]?.(0);
    await expect.poll(() => answers).toHaveLength(2);
    answers[1]?.(0);
    await Promise.all(settled);
    enter(occupant("ann", "crashing"));
    expect(atCrash(true)).toEqual([["crashing", "alone", false]]);
  });

  it("of another engine are asked of that one, whatever the one before answers", async () => {
    const { occupants, enter, atCrash } = setUp();
    const [before, after] = [occupant("mallory", "before"), occupant("mallory", "after")];
    const engines = [deferred<number | undefined>(), deferred<number>()];
    let requests = 0;
    const inHand = () => engines[requests++]?.promise ?? Promise.resolve(undefined);
    enter(before);
    occupants.leave(before, "cancelled");
    const first = occupants.settle(inHand);
    occupants.begin();
    enter(after);
    occupants.leave(after, "cancelled");
    const second = occupants.settle(inHand);
    engines[0]?.resolve(0);
    await expect.poll(() => requests).toBe(2);
    expect(atCrash(true)).toEqual([["after", "alone", false]]);
    engines[1]?.resolve(0);
    await Promise.all([first, second]);
    enter(occupant("ann", "crashing"));
    expect(atCrash(true)).toEqual([["crashing", "alone", false]]);
    expect(requests).toBe(2);
  });

  it("are asked for anew by a wait that begins when the one before has ended", async () => {
    const { occupants, enter, atCrash } = setUp();
    const [first, second] = [occupant("mallory", "first"), occupant("mallory", "second")];
    enter(first, second);
    await occupants.settle(async () => 1);
    occupants.leave(first, "cancelled");
    const counts = [0, 0];
    const ended = occupants
      .settle(async () => counts.shift())
      .then(() => {
        occupants.leave(second, "cancelled");
        return occupants.settle(async () => counts.shift());
      });
    await ended;
    enter(occupant("ann", "crashing"));
    expect(atCrash(true)).toEqual([["crashing", "alone", false]]);
  });

  it("leave out a cancelled run after which another began and ended: the engine did not hang in it", () => {
    const { clock, occupants, enter, atCrash } = setUp();
    const cancelled = occupant("mallory", "cancelled");
    enter(cancelled);
    clock.nowMs = 1;
    occupants.leave(cancelled, "cancelled");
    const later = { ...occupant("ann", "later"), begunMs: 2 };
    enter(later);
    occupants.leave(later, "ended");
    enter({ ...occupant("ann", "crashing"), begunMs: 3 });
    expect(atCrash()).toEqual([["crashing", "alone", false]]);
  });

  it("are of the last run's owner when the idle engine crashes just after it, and nobody's later", () => {
    const { clock, occupants, enter, atCrash } = setUp();
    const last = occupant("mallory", "last");
    enter(last);
    occupants.leave(last, "ended");
    expect(atCrash()).toEqual([["last", "owner", "owner only"]]);
    clock.nowMs = GRACE_MS;
    expect(atCrash()).toEqual([]);
  });

  it("are none of the engine before", () => {
    const { occupants, enter, atCrash } = setUp();
    const cancelled = occupant("mallory", "cancelled");
    enter(cancelled);
    occupants.leave(cancelled, "cancelled");
    occupants.begin();
    expect(atCrash()).toEqual([]);
  });
});

import { describe, expect, it } from "vitest";
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
  const atCrash = () =>
    occupants.atCrash().map(({ requestId, company, cleared }) => [requestId, company, cleared]);
  return { clock, occupants, enter, atCrash };
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

  it("include a run that was cancelled moments ago, until an engine that hangs was found", () => {
    const { clock, occupants, enter, atCrash } = setUp();
    const [cancelled, present] = [occupant("mallory", "cancelled"), occupant("ann", "present")];
    enter(cancelled, present);
    occupants.leave(cancelled, { isAbandoned: true });
    expect(atCrash()).toEqual([
      ["present", "shared", false],
      ["cancelled", "shared", false],
    ]);
    clock.nowMs = GRACE_MS;
    expect(atCrash()).toEqual([["present", "alone", false]]);
  });

  it("leave out a cancelled run after which another began and ended: the engine did not hang in it", () => {
    const { clock, occupants, enter, atCrash } = setUp();
    const cancelled = occupant("mallory", "cancelled");
    enter(cancelled);
    clock.nowMs = 1;
    occupants.leave(cancelled, { isAbandoned: true });
    const later = { ...occupant("ann", "later"), begunMs: 2 };
    enter(later);
    occupants.leave(later, { isAbandoned: false });
    enter({ ...occupant("ann", "crashing"), begunMs: 3 });
    expect(atCrash()).toEqual([["crashing", "alone", false]]);
  });

  it("are of the last run's owner when the idle engine crashes just after it, and nobody's later", () => {
    const { clock, occupants, enter, atCrash } = setUp();
    const last = occupant("mallory", "last");
    enter(last);
    occupants.leave(last, { isAbandoned: false });
    expect(atCrash()).toEqual([["last", "owner", true]]);
    clock.nowMs = GRACE_MS;
    expect(atCrash()).toEqual([]);
  });

  it("are none of the engine before", () => {
    const { occupants, enter, atCrash } = setUp();
    const cancelled = occupant("mallory", "cancelled");
    enter(cancelled);
    occupants.leave(cancelled, { isAbandoned: true });
    occupants.begin();
    expect(atCrash()).toEqual([]);
  });
});

import { describe, expect, it } from "vitest";
import type { CrashRecord } from "../../../core/engines/crash.ts";
import type { CrashStore } from "../../../core/engines/crash-store.ts";
import { LIMITS } from "../../../core/limits.ts";
import { CrashLedger } from "./crash-ledger.ts";

const MODEL = { endpoint: "acme/echo", version: "1.0.0" };
const mallory = (digest: string) => ({
  requestId: `r-${digest}`,
  ownerId: "mallory",
  digest: () => digest,
  begunMs: 0,
  company: "alone" as const,
  cleared: false,
});

/** A store as several workers share it. */
function sharedStore() {
  let records: CrashRecord[] = [];
  let isAway = false;
  const unlessAway = async <T>(value: () => T): Promise<T> => {
    if (isAway) throw new Error("PostgreSQL is away");
    return value();
  };
  const store: CrashStore = {
    record: (added) => unlessAway(() => void records.push(...added.map((each) => ({ ...each, ageMs: 0 })))),
    clear: ({ inputDigest }) =>
      unlessAway(() => {
        records = records.map((each) =>
          each.inputDigest === inputDigest ? { ...each, cleared: true } : each,
        );
      }),
    forget: ({ ownerId }) =>
      unlessAway(() => {
        const before = records.length;
        records = records.filter((each) => each.ownerId !== ownerId);
        return before - records.length;
      }),
    list: () => unlessAway(() => [...records]),
    onChange: async () => async () => {},
  };
  return {
    store,
    setAway: (away: boolean) => {
      isAway = away;
    },
    forgetAll: () => {
      records = [];
    },
  };
}
const ledgerOf = (store?: CrashStore, warnings: string[] = []) =>
  new CrashLedger({ ...(store && { store }), ofOwnerMax: 5, warn: (message) => warnings.push(message) });

describe("crash ledger", () => {
  it("judges by the crashes on other workers", async () => {
    const { store } = sharedStore();
    const [one, two] = [ledgerOf(store), ledgerOf(store)];
    await one.record(MODEL, [mallory("bad")]);
    await two.refresh();
    expect(two.treatmentOf(MODEL, mallory("bad"))).toEqual({ alone: true, apart: true });
    await two.record(MODEL, [mallory("bad")]);
    await one.refresh();
    for (const ledger of [one, two])
      expect(ledger.treatmentOf(MODEL, mallory("bad")).refusal?.code).toBe("input_quarantined");
    const others = { ...MODEL, endpoint: "acme/other" };
    expect(one.treatmentOf(others, mallory("bad"))).toEqual({ alone: false, apart: false });
    expect(one.treatmentOf(MODEL, { ...mallory("bad"), ownerId: "ann" })).toEqual({
      alone: false,
      apart: false,
    });
  });

  it("clears an input everywhere that ran to an end", async () => {
    const { store } = sharedStore();
    const ledger = ledgerOf(store);
    await ledger.record(MODEL, [mallory("flaky")]);
    ledger.clear(MODEL, mallory("flaky"));
    expect(ledger.treatmentOf(MODEL, mallory("flaky"))).toEqual({ alone: false, apart: false });
    await ledger.refresh();
    expect(ledger.treatmentOf(MODEL, mallory("flaky"))).toEqual({ alone: false, apart: false });
  });

  it("judges by what it knows while the store is away, and warns once", async () => {
    const { store, setAway } = sharedStore();
    const warnings: string[] = [];
    const ledger = ledgerOf(store, warnings);
    await ledger.record(MODEL, [mallory("bad")]);
    setAway(true);
    await ledger.record(MODEL, [mallory("bad")]);
    await ledger.refresh();
    expect(ledger.treatmentOf(MODEL, mallory("bad")).refusal?.code).toBe("input_quarantined");
    expect(warnings).toEqual([expect.stringContaining("PostgreSQL is away")]);
  });

  it("forgets a model that an operator has reset, also what the store never had", async () => {
    const { store, setAway, forgetAll } = sharedStore();
    const ledger = ledgerOf(store);
    await ledger.record(MODEL, [mallory("bad")]);
    setAway(true);
    await ledger.record(MODEL, [mallory("bad")]);
    forgetAll();
    setAway(false);
    ledger.forget(MODEL);
    expect(ledger.treatmentOf(MODEL, mallory("bad"))).toEqual({ alone: false, apart: false });
    await ledger.refresh();
    expect(ledger.treatmentOf(MODEL, mallory("bad"))).toEqual({ alone: false, apart: false });
  });

  it("remembers for itself without a store, for an hour", async () => {
    let nowMs = 0;
    const ledger = new CrashLedger({ ofOwnerMax: 5, warn: () => {}, nowMs: () => nowMs });
    for (let i = 0; i < 2; i++) await ledger.record(MODEL, [mallory("bad")]);
    expect(ledger.treatmentOf(MODEL, mallory("bad")).refusal?.forMs).toBe(LIMITS.crashKeptMs);
    nowMs = LIMITS.crashKeptMs;
    expect(ledger.treatmentOf(MODEL, mallory("bad"))).toEqual({ alone: false, apart: false });
  });
});

import { describe, expect, it } from "vitest";
import { LIMITS } from "../limits.ts";
import { type CrashRecord, crashDigest, NO_INPUT, treatmentOf } from "./crash.ts";

const MINUTE = 60_000;
let crashes = 0;
const record = (over: Partial<CrashRecord> = {}): CrashRecord => ({
  crashId: `crash-${++crashes}`,
  endpoint: "acme/echo",
  version: "1.0.0",
  ownerId: "mallory",
  inputDigest: "bad",
  requestId: `r${crashes}`,
  company: "alone",
  cleared: false,
  ageMs: MINUTE,
  ...over,
});
const judge = (records: CrashRecord[], digest = "bad", max = 5) => treatmentOf(records, () => digest, max);

describe("the treatment of a request by the crash records of its owner", () => {
  it("is no other without records, and computes no digest", () => {
    const never = () => {
      throw new Error("asked");
    };
    expect(treatmentOf([], never, 5)).toEqual({ alone: false, apart: false });
    expect(treatmentOf([record({ ageMs: LIMITS.crashKeptMs })], never, 5)).toEqual({
      alone: false,
      apart: false,
    });
  });

  it("keeps a suspect input alone, and its owner's other inputs apart from other owners", () => {
    const records = [record({ company: "shared" })];
    expect(judge(records)).toEqual({ alone: true, apart: true });
    expect(judge(records, "other")).toEqual({ alone: false, apart: true });
  });

  it("quarantines an input after two crashes, and names both requests and the time", () => {
    const records = [
      record({ requestId: "one", ageMs: 10 * MINUTE }),
      record({ requestId: "two", ageMs: MINUTE }),
    ];
    expect(judge(records).refusal).toEqual({
      code: "input_quarantined",
      message:
        "This input crashed or hung the engine of acme/echo 1.0.0 in the requests one and two. It is " +
        "refused for 50 min; change the input, or send it again then.",
      forMs: 50 * MINUTE,
    });
    expect(judge(records, "other").refusal).toBeUndefined();
    const twice = [record({ requestId: "r" }), record({ requestId: "r" })];
    expect(judge(twice).refusal?.message).toContain("twice in the request r.");
  });

  it("quarantines no input that was in company at every crash, nor one twice in the same crash", () => {
    expect(judge([record({ company: "shared" }), record({ company: "shared" })]).refusal).toBeUndefined();
    expect(judge([record({ company: "shared" }), record()]).refusal?.code).toBe("input_quarantined");
    const same = { crashId: "same", company: "owner" } as const;
    expect(judge([record(same), record(same)]).refusal).toBeUndefined();
  });

  it("forgets an input that ran to an end since", () => {
    const records = [record({ cleared: true }), record({ cleared: true })];
    expect(judge(records)).toEqual({ alone: false, apart: false });
  });

  it("refuses an owner after so many crashes of its own, with whatever inputs, cleared or not", () => {
    const own = [1, 2, 3].map((index) =>
      record({ inputDigest: `bad ${index}`, ageMs: index * MINUTE, cleared: index === 2 }),
    );
    const shared = record({ inputDigest: "x", company: "shared" });
    expect(judge([...own.slice(1), shared], "fresh", 3).refusal).toBeUndefined();
    expect(judge([...own, shared], "fresh", 3).refusal).toEqual({
      code: "engine_crash_limit",
      message: expect.stringContaining(
        "3 times within an hour. Its requests for this model are refused for 57 min",
      ),
      forMs: 57 * MINUTE,
    });
  });

  it("keeps an owner apart whose requests had just left two engines that crashed", () => {
    const left = (over: Partial<CrashRecord> = {}) =>
      record({ inputDigest: NO_INPUT, company: "shared", cleared: true, ...over });
    expect(judge([left()])).toEqual({ alone: false, apart: false });
    expect(judge([left({ crashId: "same" }), left({ crashId: "same" })])).toEqual({
      alone: false,
      apart: false,
    });
    expect(judge([left(), left()])).toEqual({ alone: false, apart: true });
    // Nobody else was there: these count for the owner limit.
    expect(judge([left({ company: "owner" }), left({ company: "alone" })], "x", 2).refusal?.code).toBe(
      "engine_crash_limit",
    );
  });

  it("counts a crash with several requests of the owner once", () => {
    const same = { crashId: "same", company: "owner" } as const;
    const records = ["a", "b", "c"].map((inputDigest) => record({ ...same, inputDigest }));
    expect(judge(records, "fresh", 2).refusal).toBeUndefined();
  });
});

describe("the digest of an input", () => {
  const file = (sha256: string) => ({ sha256 }) as never;

  it("is that of the same input sent again, with whatever seed and order of fields", () => {
    const digest = crashDigest({ input: { prompt: "a", steps: 3, seed: 1 } });
    expect(crashDigest({ input: { steps: 3, prompt: "a", seed: 2 } })).toBe(digest);
    expect(crashDigest({ input: { prompt: "a", steps: 3 } })).toBe(digest);
    expect(crashDigest({ input: { prompt: "b", steps: 3 } })).not.toBe(digest);
  });

  it("counts files by their content", () => {
    const input = { image_url: "attachment:0" };
    expect(crashDigest({ input, files: [file("1")] })).not.toBe(crashDigest({ input, files: [file("2")] }));
  });
});

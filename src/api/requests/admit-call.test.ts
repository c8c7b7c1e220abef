import { Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { Claim, ClaimName } from "../../core/requests/idempotency-store.ts";
import { createAdmitCall } from "./admit-call.ts";

const ID = "00000000-0000-7000-8000-000000000001";
const CALLER = { ownerId: "o", keyId: "k", scope: "API" as const };
const refusal = new TemperaError("rate_limited");

let claimed: ClaimName[];
let answers: ((claim: Claim) => void)[];
let fail: (error: Error) => void;
let released: string[];
/** The count of the next call by its owner's limits. */
let count: Promise<void>;
let admitCall: ReturnType<typeof createAdmitCall>;
beforeEach(() => {
  claimed = [];
  answers = [];
  released = [];
  const claims = {
    claim: (name: ClaimName, { fingerprint }: { fingerprint: string }) =>
      new Promise<Claim>((done, reject) => {
        claimed.push(name);
        answers.push(() => done({ requestId: ID, fingerprint, isOwn: true, ageMs: 0 }));
        fail = reject;
      }),
    release: async (_: ClaimName, requestId: string) => void released.push(requestId),
  };
  const limits = { countCall: () => count };
  admitCall = createAdmitCall({ claims, limits } as unknown as Parameters<typeof createAdmitCall>[0]);
});

/** Makes a call with an idempotency key, and resolves with its claim. */
async function call(counted: Promise<void>, ownerId = "o"): Promise<unknown> {
  let admitted: Promise<{ claim: unknown }> | undefined;
  count = counted;
  const app = new Hono().post("/", (c) => {
    const caller = { ...CALLER, ownerId };
    admitted = admitCall(c, { caller, endpoint: "a/b", readBody: async () => ({ input: {} }) });
    admitted.catch(() => {});
    return c.body(null);
  });
  await app.request("/", { method: "POST", headers: { "idempotency-key": "once" } });
  return (await admitted)?.claim;
}
/** The same, without waiting for its claim. */
const begin = (counted: Promise<void>, ownerId?: string): { claim: Promise<unknown> } => ({
  claim: call(counted, ownerId),
});
const answerClaim = async (): Promise<void> => {
  await expect.poll(() => answers.length).toBeGreaterThan(0);
  answers.shift()?.({} as Claim);
};

describe("the claim of a call that is being counted", () => {
  it("is made during the count, and takes effect when the count admits the call", async () => {
    let admit: () => void = () => {};
    const { claim } = begin(new Promise((done) => (admit = done)));
    await answerClaim();
    expect(claimed).toEqual([{ ownerId: "o", key: "key:once" }]);
    expect(await Promise.race([claim, new Promise((turn) => setImmediate(turn, "waits"))])).toBe("waits");
    admit();
    expect(await claim).toMatchObject({ shared: false });
    expect(released).toEqual([]);
  });

  it("is released when the call is refused, whichever answer comes first", async () => {
    let refuse: (error: Error) => void = () => {};
    const first = begin(new Promise((_, reject) => (refuse = reject)));
    await answerClaim();
    refuse(refusal);
    await expect(first.claim).rejects.toBe(refusal);
    await expect.poll(() => released).toEqual([ID]);
    const second = begin(Promise.reject(refusal), "another");
    await expect(second.claim).rejects.toBe(refusal);
    await answerClaim();
    await expect.poll(() => released).toEqual([ID, ID]);
  });

  it("waits for the count while calls of its owner are refused, until one is admitted", async () => {
    await expect(begin(Promise.reject(refusal)).claim).rejects.toBe(refusal);
    for (let i = 0; i < 100; i++) await expect(begin(Promise.reject(refusal)).claim).rejects.toBe(refusal);
    expect(claimed).toHaveLength(1);
    const { claim } = begin(Promise.resolve());
    await expect.poll(() => claimed).toHaveLength(2);
    for (const answer of answers) answer({} as Claim);
    expect(await claim).toMatchObject({ shared: false });
  });

  it("that fails is the answer only to an admitted call", async () => {
    const away = new TemperaError("server_error");
    let admit: () => void = () => {};
    const { claim } = begin(new Promise((done) => (admit = done)));
    await expect.poll(() => claimed).toHaveLength(1);
    fail(away);
    await new Promise((turn) => setImmediate(turn));
    admit();
    await expect(claim).rejects.toBe(away);
    const refused = begin(Promise.reject(refusal), "another");
    await expect(refused.claim).rejects.toBe(refusal);
    fail(away);
    await new Promise((turn) => setImmediate(turn));
  });
});

import { Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { Claim, ClaimName } from "../../core/requests/idempotency-store.ts";
import { createClaimRequest } from "./claim-request.ts";

const ID = "00000000-0000-7000-8000-000000000001";
const CALLER = { ownerId: "o", keyId: "k", scope: "API" as const };
const refusal = new TemperaError("rate_limited");

let asked: ClaimName[];
let answers: ((claim: Claim) => void)[];
let fail: (error: Error) => void;
let released: string[];
let claimRequest: ReturnType<typeof createClaimRequest>;
beforeEach(() => {
  asked = [];
  answers = [];
  released = [];
  const claims = {
    claim: (name: ClaimName, { fingerprint }: { fingerprint: string }) =>
      new Promise<Claim>((done, reject) => {
        asked.push(name);
        answers.push(() => done({ requestId: ID, fingerprint, mine: true, ageMs: 0 }));
        fail = reject;
      }),
    release: async (_: ClaimName, requestId: string) => void released.push(requestId),
  };
  claimRequest = createClaimRequest({ claims } as unknown as Parameters<typeof createClaimRequest>[0]);
});

/** A call with an idempotency key, whose count by its owner's limits is `allowed`. */
async function call(allowed: Promise<void>, ownerId = "o"): Promise<ReturnType<typeof claimRequest>> {
  let claiming: ReturnType<typeof claimRequest> | undefined;
  const app = new Hono().post("/", (c) => {
    claiming = claimRequest(c, { caller: { ...CALLER, ownerId }, endpoint: "a/b", input: {} }, allowed);
    claiming.catch(() => {});
    return c.body(null);
  });
  await app.request("/", { method: "POST", headers: { "idempotency-key": "once" } });
  return claiming as ReturnType<typeof claimRequest>;
}
/** The same, without waiting for its claim. */
const begin = (allowed: Promise<void>, ownerId?: string): { claim: Promise<unknown> } => ({
  claim: call(allowed, ownerId),
});
const answered = async (): Promise<void> => {
  await expect.poll(() => answers.length).toBeGreaterThan(0);
  answers.shift()?.({} as Claim);
};

describe("the claim of a call that is being counted", () => {
  it("is made beside the count, and is nobody's before the call is allowed", async () => {
    let allow: () => void = () => {};
    const { claim } = begin(new Promise((done) => (allow = done)));
    await answered();
    expect(asked).toEqual([{ ownerId: "o", key: "key:once" }]);
    expect(await Promise.race([claim, new Promise((turn) => setImmediate(turn, "waits"))])).toBe("waits");
    allow();
    expect(await claim).toMatchObject({ shared: false });
    expect(released).toEqual([]);
  });

  it("is taken back when the call is refused, whichever answer comes first", async () => {
    let refuse: (error: Error) => void = () => {};
    const first = begin(new Promise((_, reject) => (refuse = reject)));
    await answered();
    refuse(refusal);
    await expect(first.claim).rejects.toBe(refusal);
    await expect.poll(() => released).toEqual([ID]);
    const second = begin(Promise.reject(refusal), "another");
    await expect(second.claim).rejects.toBe(refusal);
    await answered();
    await expect.poll(() => released).toEqual([ID, ID]);
  });

  it("is not asked for while calls of its owner are refused, and again once they are allowed", async () => {
    await expect(begin(Promise.reject(refusal)).claim).rejects.toBe(refusal);
    for (let i = 0; i < 100; i++) await expect(begin(Promise.reject(refusal)).claim).rejects.toBe(refusal);
    expect(asked).toHaveLength(1);
    const { claim } = begin(Promise.resolve());
    await expect.poll(() => asked).toHaveLength(2);
    for (const answer of answers) answer({} as Claim);
    expect(await claim).toMatchObject({ shared: false });
  });

  it("that fails is the answer of an allowed call only", async () => {
    const away = new TemperaError("store_unavailable");
    let allow: () => void = () => {};
    const { claim } = begin(new Promise((done) => (allow = done)));
    await expect.poll(() => asked).toHaveLength(1);
    fail(away);
    await new Promise((turn) => setImmediate(turn));
    allow();
    await expect(claim).rejects.toBe(away);
    const refused = begin(Promise.reject(refusal), "another");
    await expect(refused.claim).rejects.toBe(refusal);
    fail(away);
    await new Promise((turn) => setImmediate(turn));
  });
});

import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectPostgres, type Sql } from "../../../src/adapters/postgres/connection.ts";
import { createNodeResultStore } from "../../../src/adapters/postgres/pipelines/node-result-store.ts";
import { LIMITS } from "../../../src/core/limits.ts";
import type {
  NodeClaim,
  NodeResult,
  NodeResultStore,
} from "../../../src/core/pipelines/node-result-store.ts";
import { leakCheck } from "../../setup/leak-check.ts";
import { testDatabase } from "../../setup/test-database.ts";

leakCheck();

let database: Awaited<ReturnType<typeof testDatabase>>;
let sql: Sql;
let results: NodeResultStore;
beforeAll(async () => {
  database = await testDatabase();
  sql = connectPostgres(database.url, { maxConnections: 5 });
  results = createNodeResultStore(sql);
});
afterAll(async () => {
  await sql.end({ timeout: 2 });
  await database[Symbol.asyncDispose]();
});

const LEASE_MS = 60_000;
const later = (): number => Date.now() + 60_000;
const claimOf = (key: string): NodeClaim => ({
  key,
  ownerId: "ann",
  endpoint: "t/a",
  version: "1.0.0",
  requestId: randomUUID(),
});
const newKey = (): string => randomUUID().replaceAll("-", "");
const resultOf = ({ requestId }: NodeClaim): NodeResult => ({
  requestId,
  output: { inline: { b: 1, a: "\u0000" } },
  files: ["http://localhost/files/a,b.png", "two"],
});
const lapse = (key: string, ms = 1): Promise<unknown> =>
  sql`UPDATE node_results SET claimed_until = now() - ${ms} * interval '1 millisecond' WHERE key = ${key}`;

describe("the node result store", () => {
  it("makes a result once, and returns it unchanged to everybody", async () => {
    const [first, second] = [claimOf(newKey())].flatMap((claim) => [claim, claimOf(claim.key)]) as [
      NodeClaim,
      NodeClaim,
    ];
    expect(await results.find(first.key)).toBeUndefined();
    expect(await results.findOrClaim(first, LEASE_MS)).toEqual({ state: "claimed" });
    expect(await results.findOrClaim(second, LEASE_MS)).toEqual({ state: "busy" });
    expect(await results.findOrClaim(first, LEASE_MS)).toEqual({ state: "claimed" });
    await results.store(first, resultOf(first), later());
    expect(await results.findOrClaim(second, LEASE_MS)).toEqual({ state: "made", result: resultOf(first) });
    expect(await results.find(first.key)).toEqual(resultOf(first));
  });

  it("gives one of many concurrent callers the claim", async () => {
    const key = newKey();
    const claims = Array.from({ length: 20 }, () => results.findOrClaim(claimOf(key), LEASE_MS));
    const taken = await Promise.all(claims);
    expect(taken.filter(({ state }) => state === "claimed")).toHaveLength(1);
    expect(taken.filter(({ state }) => state === "busy")).toHaveLength(19);
  });

  it("gives an expired claim to the next caller, and drops a late result of the first", async () => {
    const [lost, next] = [claimOf(newKey())].flatMap((claim) => [claim, claimOf(claim.key)]) as [
      NodeClaim,
      NodeClaim,
    ];
    await results.findOrClaim(lost, LEASE_MS);
    await lapse(lost.key);
    await results.renew(lost, LEASE_MS);
    expect(await results.findOrClaim(next, LEASE_MS)).toEqual({ state: "busy" });
    await lapse(lost.key);
    expect(await results.findOrClaim(next, LEASE_MS)).toEqual({ state: "claimed" });
    await results.store(lost, resultOf(lost), later());
    await results.release(lost);
    expect(await results.find(lost.key)).toBeUndefined();
    await results.store(next, resultOf(next), later());
    expect(await results.find(lost.key)).toEqual(resultOf(next));
  });

  it("makes an expired or forgotten result again", async () => {
    const [first, second, third] = Array.from({ length: 3 }, () => claimOf(newKey())).map(
      (claim, _, [{ key } = claim]) => ({
        ...claim,
        key,
      }),
    ) as [NodeClaim, NodeClaim, NodeClaim];
    await results.findOrClaim(first, LEASE_MS);
    await results.store(first, resultOf(first), Date.now() - 1);
    expect(await results.find(first.key)).toBeUndefined();
    expect(await results.findOrClaim(second, LEASE_MS)).toEqual({ state: "claimed" });
    await results.store(second, resultOf(second), later());
    await results.forget(first.key, first.requestId);
    expect(await results.find(first.key)).toEqual(resultOf(second));
    await results.forget(first.key, second.requestId);
    expect(await results.findOrClaim(third, LEASE_MS)).toEqual({ state: "claimed" });
  });

  it("forgets results with the payloads of their request, and keeps claims", async () => {
    const made = claimOf(newKey());
    const claimed = { ...claimOf(newKey()), requestId: made.requestId };
    await results.findOrClaim(made, LEASE_MS);
    await results.store(made, resultOf(made), later());
    await results.findOrClaim(claimed, LEASE_MS);
    await results.forgetMadeBy(made.requestId);
    expect(await results.find(made.key)).toBeUndefined();
    expect(await results.findOrClaim(claimOf(claimed.key), LEASE_MS)).toEqual({ state: "busy" });
  });

  it("announces the end of a claim, with a result or without", async () => {
    const [made, given, forgotten] = Array.from({ length: 3 }, () => claimOf(newKey())) as [
      NodeClaim,
      NodeClaim,
      NodeClaim,
    ];
    const heard: string[] = [];
    let wake = (): void => {};
    const stop = await results.onSettled((key) => {
      heard.push(key);
      if (heard.length === 2) wake();
    });
    const alone = claimOf(newKey());
    for (const claim of [made, given, forgotten, alone]) await results.findOrClaim(claim, LEASE_MS);
    for (const { key } of [made, given, forgotten])
      expect(await results.findOrClaim(claimOf(key), LEASE_MS)).toEqual({ state: "busy" });
    const both = new Promise<void>((resolve) => {
      wake = resolve;
    });
    // The end of a claim that nobody waited for is not announced.
    await results.release(alone);
    await results.store(made, resultOf(made), later());
    await results.forget(made.key, made.requestId);
    await results.release(given);
    await both;
    expect(heard).toEqual([made.key, given.key]);
    await stop();
  });

  it("sweeps expired results, and claims that nobody renews", async () => {
    const [old, young, left, held] = Array.from({ length: 4 }, () => claimOf(newKey())) as [
      NodeClaim,
      NodeClaim,
      NodeClaim,
      NodeClaim,
    ];
    await results.sweep(Date.now());
    for (const claim of [old, young, left, held]) await results.findOrClaim(claim, LEASE_MS);
    await results.store(old, resultOf(old), Date.now() - 1);
    await results.store(young, resultOf(young), later());
    await lapse(left.key, LIMITS.nodeClaimKeptMs + 1);
    await lapse(held.key, LIMITS.nodeClaimKeptMs - 60_000);
    expect(await results.sweep(Date.now())).toBe(2);
    expect(await results.find(young.key)).toEqual(resultOf(young));
    expect(await results.findOrClaim(claimOf(old.key), LEASE_MS)).toEqual({ state: "claimed" });
  });
});

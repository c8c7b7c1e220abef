import { Readable } from "node:stream";
import { beforeEach, expect, it } from "vitest";
import { retrieve } from "../../core/files/stored-value.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { Budget } from "./budget.ts";
import { type CountedReads, countedReads } from "./counted-reads.ts";
import { Turns } from "./turns.ts";

const VALUES: Record<string, string> = {
  small: '{"a":1}',
  large: `"${"x".repeat(398)}"`,
  huge: `"${"x".repeat(5_000)}"`,
};
const OWNER_BYTES = 1_000;

let bodies: Budget;
let opened: Readable[];
let turns: string[];
let api: Pick<ApiDependencies, "objects" | "budgets">;

beforeEach(() => {
  bodies = new Budget({ things: "bytes", remedy: "Wait.", ofOwner: () => OWNER_BYTES });
  opened = [];
  turns = [];
  const infoOf = (key: string) =>
    VALUES[key] === undefined ? undefined : { bytes: VALUES[key].length, contentType: "" };
  const budgets = {
    bodies,
    turns: {
      take: <T>(ownerId: string, work: () => T) => {
        turns.push(ownerId);
        return new Turns().take(ownerId, work);
      },
    },
  };
  const objects = {
    head: async (key: string) => infoOf(key),
    get: async (key: string) => {
      const body = Readable.from([Buffer.from(VALUES[key] ?? "")]);
      opened.push(body);
      return infoOf(key) && { info: infoOf(key), body };
    },
  };
  api = { objects, budgets } as never;
});

const read = (reads: CountedReads, ref: string) => retrieve<unknown>(reads.objects, { ref });

it("count the largest of a call's values for its owner, until they are released", async () => {
  using reads = countedReads(api, "ann");
  expect(await read(reads, "small")).toEqual({ a: 1 });
  expect([bodies.heldBy("ann"), reads.hasRead]).toEqual([7, true]);
  await read(reads, "large");
  await read(reads, "small");
  expect(bodies.heldBy("ann")).toBe(400);
  reads.release();
  expect([bodies.held, reads.hasRead]).toEqual([0, false]);
});

it("are parsed in their owner's turn", async () => {
  using reads = countedReads(api, "ann");
  await read(reads, "large");
  expect(turns).toEqual(["ann"]);
});

it("wait for room, and are not opened before", async () => {
  const other = bodies.acquire("ann", 900);
  using reads = countedReads(api, "ann");
  const reading = read(reads, "large");
  await new Promise(setImmediate);
  expect(opened).toEqual([]);
  other.resize(600);
  expect(await reading).toHaveLength(398);
});

it("are read one at a time, although they are asked for at once", async () => {
  using reads = countedReads(api, "ann");
  const first = await reads.objects.get("large");
  const second = read(reads, "small");
  await new Promise(setImmediate);
  expect(opened).toHaveLength(1);
  first?.body.resume();
  expect(await second).toEqual({ a: 1 });
});

it("can be read however large they are: more than half of an owner's part counts as half", async () => {
  using one = countedReads(api, "ann");
  using two = countedReads(api, "ann");
  expect(await Promise.all([read(one, "huge"), read(two, "huge")])).toHaveLength(2);
  expect(bodies.heldBy("ann")).toBe(OWNER_BYTES);
});

it("that are missing leave nothing held", async () => {
  using reads = countedReads(api, "ann");
  await expect(read(reads, "missing")).rejects.toMatchObject({ code: "store_unavailable" });
  expect(await read(reads, "small")).toEqual({ a: 1 });
  reads[Symbol.dispose]();
  expect(bodies.held).toBe(0);
});

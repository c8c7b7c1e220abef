import { describe, expect, it } from "vitest";
import { Budget, type Hold } from "./budget.ts";

const budget = (ofOwner: number, total: number) =>
  new Budget({ things: "sockets open", remedy: "Close one.", ofOwner: () => ofOwner, total: () => total });

describe("a budget", () => {
  it("refuses an owner beyond its part, and names the limit; others are served", () => {
    const sockets = budget(1000, 4000);
    sockets.acquire("ann", 1000);
    expect(() => sockets.acquire("ann")).toThrow(
      expect.objectContaining({
        code: "concurrent_requests_limit",
        message: "This would exceed your limit of 1,000 sockets open. Close one.",
      }),
    );
    sockets.acquire("bob");
    expect(sockets.heldBy("ann")).toBe(1000);
  });

  it("refuses everybody beyond the total", () => {
    const sockets = budget(2, 3);
    sockets.acquire("ann", 2);
    sockets.acquire("bob", 1);
    expect(() => sockets.acquire("bob")).toThrow(
      expect.objectContaining({
        code: "capacity_limit",
        message: "This would exceed the limit of 3 sockets open, of all callers together. Try again later.",
      }),
    );
  });

  it("gives back less than a limit that was lowered meanwhile, and takes no more", () => {
    let limit = 10;
    const bytes = new Budget({ things: "bytes", remedy: "", ofOwner: () => limit });
    const hold = bytes.acquire("ann", 10);
    limit = 5;
    hold.resize(8);
    expect(() => hold.resize(9)).toThrow();
    expect([hold.amount, bytes.held]).toEqual([8, 8]);
  });

  it("takes nothing for a part that was given back", () => {
    const bytes = budget(10, 10);
    const hold = bytes.acquire("ann", 3);
    hold[Symbol.dispose]();
    hold[Symbol.dispose]();
    expect(() => hold.resize(1)).toThrow("given back already");
    expect(bytes.held).toBe(0);
  });

  it("counts exactly what is held, whatever is taken, resized, refused and given back", () => {
    let seed = 1;
    const random = (below: number): number => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed % below;
    };
    const bytes = budget(40, 100);
    const holds: { owner: string; hold: Hold }[] = [];
    for (let step = 0; step < 5000; step++) {
      const owner = `o${random(6)}`;
      const chosen = holds[random(holds.length + 1)];
      try {
        if (random(3) === 0) holds.push({ owner, hold: bytes.acquire(owner, random(30)) });
        else if (random(2) === 0) chosen?.hold.resize(random(50));
        else if (chosen) holds.splice(holds.indexOf(chosen), 1)[0]?.hold[Symbol.dispose]();
      } catch {}
      const sum = (of: string | undefined): number =>
        holds.reduce(
          (all, { owner: by, hold }) => all + (of === undefined || by === of ? hold.amount : 0),
          0,
        );
      expect([bytes.held, bytes.heldBy(owner)]).toEqual([sum(undefined), sum(owner)]);
      expect(bytes.held).toBeLessThanOrEqual(100);
      expect(bytes.heldBy(owner)).toBeLessThanOrEqual(40);
    }
    for (const { hold } of holds) hold[Symbol.dispose]();
    expect(bytes.held).toBe(0);
  });

  it("lets those who can wait take a part as soon as there is room, in their order", async () => {
    const bytes = budget(10, 100);
    const first = bytes.acquire("ann", 8);
    const taken: string[] = [];
    const ask = (name: string, amount: number): Promise<Hold> => {
      const hold = bytes.acquire("ann", 0);
      return hold.resizeWithin(amount, 60_000).then(() => {
        taken.push(name);
        return hold;
      });
    };
    const [six, five, two] = [ask("six", 6), ask("five", 5), ask("two", 2)];
    await two;
    expect(taken).toEqual(["two"]);
    first.resize(2);
    await six;
    expect([taken, bytes.heldBy("ann")]).toEqual([["two", "six"], 10]);
    (await six)[Symbol.dispose]();
    await five;
    expect([taken, bytes.heldBy("ann")]).toEqual([["two", "six", "five"], 9]);
  });

  it("refuses those who waited for room in vain, as any other", async () => {
    const bytes = budget(10, 100);
    bytes.acquire("ann", 8);
    const hold = bytes.acquire("ann", 1);
    await expect(hold.resizeWithin(3, 0)).rejects.toMatchObject({ code: "concurrent_requests_limit" });
    expect(bytes.heldBy("ann")).toBe(9);
  });
});

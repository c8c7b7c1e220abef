import { beforeEach, describe, expect, it } from "vitest";
import type { OwnedObject } from "../../core/files/file-store.ts";
import type { JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import { RequestValues, type ValuePorts } from "./request-values.ts";

const LARGE: JsonObject = { text: "x".repeat(LIMITS.inlineBytesMax) };

let stored: Set<string>;
let counted: Set<string>;
let refuse: (key: string) => boolean;
beforeEach(() => {
  stored = new Set();
  counted = new Set();
  refuse = () => false;
});
const ports = {
  log: { warn() {} },
  objects: {
    put: async (key: string) => {
      if (refuse(key)) throw new Error("broken");
      stored.add(key);
    },
    delete: async (key: string) => void stored.delete(key),
  },
  files: {
    countObject: async ({ objectKey }: OwnedObject) => Boolean(counted.add(objectKey)),
    uncountObjects: async (keys: string[]) => keys.forEach((key) => void counted.delete(key)),
  },
} as unknown as ValuePorts;

describe("the values of a request that is not queued", () => {
  it("are deleted and count no more, the small ones of a request that is not stored too", async () => {
    const values = new RequestValues(ports, "ann");
    await values.store("inputs/r.json", LARGE);
    await values.storeApart("transient/r/input.json", LARGE);
    await values.storeApart("transient/r/input.json", {});
    expect(await values.store("inputs/r.json", { small: 1 })).toEqual({ inline: { small: 1 } });
    expect([stored.size, counted.size]).toEqual([3, 2]);
    values.discard();
    await expect.poll(() => [stored.size, counted.size]).toEqual([0, 0]);
  });

  it("are deleted when another of them could not be stored, also one that is still on its way", async () => {
    refuse = (key) => key.startsWith("inputs/r-plan");
    const values = new RequestValues(ports, "ann");
    const late = values.store("inputs/r.json", LARGE);
    await expect(values.store("inputs/r-plan.json", LARGE)).rejects.toThrow("broken");
    values.discard();
    await late;
    await expect.poll(() => [stored.size, counted.size]).toEqual([0, 0]);
  });

  it("are not those of another call with the same idempotency key, which may be queued", async () => {
    const [mine, other] = [new RequestValues(ports, "ann"), new RequestValues(ports, "ann")];
    await mine.store("inputs/r.json", LARGE);
    const kept = (await other.store("inputs/r.json", LARGE)) as { ref: string };
    mine.discard();
    await expect.poll(() => [...stored]).toEqual([kept.ref]);
    expect([...counted]).toEqual([kept.ref]);
  });
});

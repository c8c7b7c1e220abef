import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createFileObjectStore } from "../../adapters/object-store/file-object-store.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";
import { createCheckpointKeeper } from "./checkpoint-keeper.ts";

type Objects = Pick<ObjectStore, "put" | "get" | "delete">;

function setUp(change: (objects: Objects) => Partial<Objects> = () => ({})) {
  const real = createFileObjectStore({ folder: mkdtempSync(join(tmpdir(), "checkpoints-")) });
  const objects: Objects = { put: real.put, get: real.get, delete: real.delete, ...change(real) };
  const warnings: string[] = [];
  const keeper = () => createCheckpointKeeper(objects, "request-1", (message) => warnings.push(message));
  return { keeper, real, warnings };
}

const text = async (found: Promise<Uint8Array | undefined>) => {
  const bytes = await found;
  return bytes && Buffer.from(bytes).toString();
};

describe("a checkpoint keeper", () => {
  it("gives the next attempt the newest one", async () => {
    const { keeper, warnings } = setUp();
    const first = keeper();
    expect(await first.find()).toBeUndefined();
    for (const step of [1, 2, 3]) first.take(step, Buffer.from(`state ${step}`));
    await first.settled();
    expect(first.step).toBe(3);
    expect(await text(keeper().find())).toBe("state 3");
    expect(warnings).toEqual([]);
  });

  it("writes one at a time, and leaves out what a newer one overtook", async () => {
    const written: string[] = [];
    let release = () => {};
    const { keeper } = setUp(() => ({
      put: async (_key, body) => {
        written.push(String(body));
        await new Promise<void>((resolve) => {
          release = resolve;
        });
      },
    }));
    const one = keeper();
    for (const step of [1, 2, 3]) one.take(step, Buffer.from(`state ${step}`));
    expect(written).toEqual(["state 1"]);
    release();
    await expect.poll(() => written).toEqual(["state 1", "state 3"]);
    expect(one.step).toBe(1);
    release();
    await one.settled();
    expect(one.step).toBe(3);
  });

  it("leaves nothing behind when the job ends, also while one is on its way", async () => {
    const { keeper, real } = setUp();
    const one = keeper();
    one.take(1, Buffer.from("state 1"));
    await one.drop();
    expect(await real.head("checkpoints/request-1")).toBeUndefined();
    // A later attempt lets go of what an earlier one kept.
    one.take(2, Buffer.from("state 2"));
    await one.settled();
    const later = keeper();
    await later.find();
    await later.drop();
    expect(await real.head("checkpoints/request-1")).toBeUndefined();
  });

  it("asks nothing of the store for a job that has kept none", async () => {
    const { keeper } = setUp(() => ({ delete: async () => Promise.reject(new Error("asked")) }));
    await keeper().drop();
  });

  it("only warns when the store fails, whatever is asked of it", async () => {
    const away = async () => Promise.reject(new Error("away"));
    const { keeper, warnings } = setUp(() => ({ put: away, get: away, delete: away }));
    const one = keeper();
    expect(await one.find()).toBeUndefined();
    one.take(4, Buffer.from("x"));
    await one.settled();
    expect(one.step).toBeUndefined();
    await one.drop();
    expect(warnings).toEqual([
      expect.stringContaining("cannot be read"),
      expect.stringContaining("step 4 was not kept"),
      expect.stringContaining("was not deleted"),
    ]);
  });
});

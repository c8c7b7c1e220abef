import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createFileObjectStore } from "../../adapters/object-store/file-object-store.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";
import { CheckpointStore } from "./checkpoint-store.ts";

type Objects = Pick<ObjectStore, "put" | "get" | "delete">;

function setUp(change: (objects: Objects) => Partial<Objects> = () => ({})) {
  const real = createFileObjectStore({ folder: mkdtempSync(join(tmpdir(), "checkpoints-")) });
  const objects: Objects = { put: real.put, get: real.get, delete: real.delete, ...change(real) };
  const warnings: string[] = [];
  const createStore = () => new CheckpointStore(objects, "request-1", (message) => warnings.push(message));
  return { createStore, real, warnings };
}

const text = async (found: Promise<Uint8Array | undefined>) => {
  const bytes = await found;
  return bytes && Buffer.from(bytes).toString();
};

describe("the checkpoint store of a job", () => {
  it("returns the newest checkpoint to the next attempt", async () => {
    const { createStore, warnings } = setUp();
    const first = createStore();
    expect(await first.find()).toBeUndefined();
    for (const step of [1, 2, 3]) first.save(step, Buffer.from(`state ${step}`));
    await first.flush();
    expect(first.savedStep).toBe(3);
    expect(await text(createStore().find())).toBe("state 3");
    expect(warnings).toEqual([]);
  });

  it("writes one checkpoint at a time and skips those that a newer one replaced", async () => {
    const written: string[] = [];
    let release = () => {};
    const { createStore } = setUp(() => ({
      put: async (_key, body) => {
        written.push(String(body));
        await new Promise<void>((resolve) => {
          release = resolve;
        });
      },
    }));
    const one = createStore();
    for (const step of [1, 2, 3]) one.save(step, Buffer.from(`state ${step}`));
    expect(written).toEqual(["state 1"]);
    release();
    await expect.poll(() => written).toEqual(["state 1", "state 3"]);
    expect(one.savedStep).toBe(1);
    release();
    await one.flush();
    expect(one.savedStep).toBe(3);
  });

  it("leaves nothing when the job ends, also while a checkpoint is being sent", async () => {
    const { createStore, real } = setUp();
    const one = createStore();
    one.save(1, Buffer.from("state 1"));
    await one.remove();
    expect(await real.head("checkpoints/request-1")).toBeUndefined();
    // A later attempt removes the checkpoint of an earlier one.
    one.save(2, Buffer.from("state 2"));
    await one.flush();
    const later = createStore();
    await later.find();
    await later.remove();
    expect(await real.head("checkpoints/request-1")).toBeUndefined();
  });

  it("makes no request for a job without checkpoints", async () => {
    const { createStore } = setUp(() => ({
      delete: async () => Promise.reject(new Error("no request was expected")),
    }));
    await createStore().remove();
  });

  it("only warns when the object store fails", async () => {
    const away = async () => Promise.reject(new Error("away"));
    const { createStore, warnings } = setUp(() => ({ put: away, get: away, delete: away }));
    const one = createStore();
    expect(await one.find()).toBeUndefined();
    one.save(4, Buffer.from("x"));
    await one.flush();
    expect(one.savedStep).toBeUndefined();
    await one.remove();
    expect(warnings).toEqual([
      expect.stringContaining("cannot be read"),
      expect.stringContaining("step 4 was not stored"),
      expect.stringContaining("was not deleted"),
    ]);
  });
});

import { expect, it } from "vitest";
import { LIMITS } from "../core/limits.ts";
import type { DeadFile } from "../core/files/file-store.ts";
import { sweepFiles } from "./sweep-files.ts";

it("removes bytes before records, parts that were given up too, until nothing is left", async () => {
  const done: string[] = [];
  const dead: DeadFile[] = Array.from({ length: 250 }, (_, i) => ({
    fileId: `f${i}`,
    objectKey: `k${i}`,
    ...(i === 3 && { partsId: "p" }),
  }));
  dead.push({ fileId: "never-begun" });
  const asked: [number, number][] = [];
  const removed = await sweepFiles({
    retention: { count: async (kind, items) => void done.push(`${kind} ${items}`) },
    clock: { nowMs: () => 10_000_000 },
    files: {
      dead: async (nowMs, unfinishedBeforeMs, limit) => {
        asked.push([nowMs, unfinishedBeforeMs]);
        return dead.slice(0, limit);
      },
      remove: async (ids) => {
        done.push(`records ${ids.length}`);
        dead.splice(0, ids.length);
      },
    },
    objects: {
      delete: async (key) => void done.push(`bytes ${key}`),
      abortParts: async ({ key, uploadId }) => void done.push(`parts ${key} ${uploadId}`),
    },
  });
  expect(removed).toBe(251);
  expect(asked[0]).toEqual([10_000_000, 10_000_000 - LIMITS.uploadBodyMs]);
  expect(done.indexOf("parts k3 p")).toBe(done.indexOf("bytes k3") - 1);
  expect(done.indexOf("records 100")).toBe(101);
  expect(done.filter((step) => step.startsWith("bytes")).length).toBe(250);
  expect(done.slice(-2)).toEqual(["records 51", "file 51"]);
});

it("a store that fails leaves the records, so that the next sweep finds the bytes", async () => {
  const removed: string[] = [];
  const sweeping = sweepFiles({
    retention: { count: () => Promise.reject(new Error("nothing went")) },
    clock: { nowMs: () => 0 },
    files: {
      dead: async () => [{ fileId: "f", objectKey: "k" }],
      remove: async (ids) => void removed.push(...ids),
    },
    objects: { delete: () => Promise.reject(new Error("away")), abortParts: async () => {} },
  });
  await expect(sweeping).rejects.toThrow("away");
  expect(removed).toEqual([]);
});

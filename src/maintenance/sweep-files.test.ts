import { expect, it } from "vitest";
import type { ExpiredFile } from "../core/files/file-store.ts";
import { LIMITS } from "../core/limits.ts";
import { sweepFiles } from "./sweep-files.ts";

it("deletes bytes before records, and the parts of abandoned uploads, until nothing is left", async () => {
  const done: string[] = [];
  const expired: ExpiredFile[] = Array.from({ length: 250 }, (_, i) => ({
    fileId: `f${i}`,
    objectKey: `k${i}`,
    ...(i === 3 && { partsId: "p" }),
  }));
  expired.push({ fileId: "never-started" });
  const queries: [number, number][] = [];
  const removed = await sweepFiles({
    retention: { count: async (kind, items) => void done.push(`${kind} ${items}`) },
    clock: { nowMs: () => 10_000_000 },
    files: {
      expired: async (nowMs, unfinishedBeforeMs, limit) => {
        queries.push([nowMs, unfinishedBeforeMs]);
        return expired.slice(0, limit);
      },
      remove: async (ids) => {
        done.push(`records ${ids.length}`);
        expired.splice(0, ids.length);
      },
    },
    objects: {
      delete: async (key) => void done.push(`bytes ${key}`),
      abortParts: async ({ key, uploadId }) => void done.push(`parts ${key} ${uploadId}`),
    },
  });
  expect(removed).toBe(251);
  expect(queries[0]).toEqual([10_000_000, 10_000_000 - LIMITS.uploadBodyMs]);
  expect(done.indexOf("parts k3 p")).toBe(done.indexOf("bytes k3") - 1);
  expect(done.indexOf("records 100")).toBe(101);
  expect(done.filter((step) => step.startsWith("bytes")).length).toBe(250);
  expect(done.slice(-2)).toEqual(["records 51", "file 51"]);
});

it("keeps the records when the object store fails, so that the next sweep finds the bytes", async () => {
  const removed: string[] = [];
  const sweeping = sweepFiles({
    retention: { count: () => Promise.reject(new Error("nothing went")) },
    clock: { nowMs: () => 0 },
    files: {
      expired: async () => [{ fileId: "f", objectKey: "k" }],
      remove: async (ids) => void removed.push(...ids),
    },
    objects: { delete: () => Promise.reject(new Error("away")), abortParts: async () => {} },
  });
  await expect(sweeping).rejects.toThrow("away");
  expect(removed).toEqual([]);
});

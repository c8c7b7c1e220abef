import { totalmem } from "node:os";
import { expect, it } from "vitest";
import { memoryBudget } from "./device.ts";

it("a CPU worker's engines share three quarters of what the host or its container has", async () => {
  const { budgetMiB, totalMiB = 0 } = await memoryBudget("cpu", undefined);
  expect(totalMiB).toBeLessThanOrEqual(Math.round(totalmem() / 2 ** 20));
  expect(budgetMiB).toBe(Math.floor(totalMiB * 0.75));
});

it("what is configured stands, on any device", async () => {
  expect((await memoryBudget("cpu", 500)).budgetMiB).toBe(500);
  expect(await memoryBudget("cuda:3", 40_000)).toEqual({ budgetMiB: 40_000 });
});

it("a GPU is asked for its memory by its number", async () => {
  const asked: string[] = [];
  const ask = async (index: string) => {
    asked.push(index);
    return "81559\n";
  };
  expect(await memoryBudget("cuda:1", undefined, ask)).toEqual({ budgetMiB: 73_403, totalMiB: 81_559 });
  await memoryBudget("tensorrt:0", undefined, ask);
  expect(asked).toEqual(["1", "0"]);
});

it("no such GPU is one line with its remedy", async () => {
  const absent = async () => {
    throw new Error("spawn nvidia-smi ENOENT");
  };
  await expect(memoryBudget("cuda:0", undefined, absent)).rejects.toThrow(
    /^The memory of cuda:0 cannot be told \(spawn nvidia-smi ENOENT\); set TEMPERA_WORKER_MEMORY_MIB, or TEMPERA_WORKER_DEVICE=cpu where there is no such GPU\.$/,
  );
});

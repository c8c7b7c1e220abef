import { totalmem } from "node:os";
import { expect, it } from "vitest";
import { memoryBudget } from "./device.ts";

it("gives a CPU worker's engines three quarters of the memory of the host or its container", async () => {
  const { budgetMiB, totalMiB = 0 } = await memoryBudget("cpu", undefined);
  expect(totalMiB).toBeLessThanOrEqual(Math.round(totalmem() / 2 ** 20));
  expect(budgetMiB).toBe(Math.floor(totalMiB * 0.75));
});

it("uses the configured amount on any device", async () => {
  expect((await memoryBudget("cpu", 500)).budgetMiB).toBe(500);
  expect(await memoryBudget("cuda:3", 40_000)).toEqual({ budgetMiB: 40_000 });
});

it("queries the memory of a GPU by its index", async () => {
  const queried: string[] = [];
  const query = async (index: string) => {
    queried.push(index);
    return "81559\n";
  };
  expect(await memoryBudget("cuda:1", undefined, query)).toEqual({ budgetMiB: 73_403, totalMiB: 81_559 });
  await memoryBudget("tensorrt:0", undefined, query);
  expect(queried).toEqual(["1", "0"]);
});

it("reports a missing GPU in one line with the remedy", async () => {
  const absent = async () => {
    throw new Error("spawn nvidia-smi ENOENT");
  };
  await expect(memoryBudget("cuda:0", undefined, absent)).rejects.toThrow(
    new RegExp(
      /^The memory of cuda:0 cannot be determined \(spawn nvidia-smi ENOENT\); /.source +
        /set TEMPERA_WORKER_MEMORY_MIB, or TEMPERA_WORKER_DEVICE=cpu where there is no such GPU\.$/.source,
    ),
  );
});

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/** A module for `--import` of the processes that are measured. */
export const COLLECT_GARBAGE = new URL("./collect-garbage.mjs", import.meta.url).href;

/** Time in which a process collects its garbage after the signal, in milliseconds. */
const COLLECT_MS = 1_000;

/** Measures the memory in use of processes that were started with `COLLECT_GARBAGE`, in KiB each. */
export async function residentKib(pids: readonly number[]): Promise<number[]> {
  for (const pid of pids) process.kill(pid, "SIGUSR2");
  await sleep(COLLECT_MS);
  return pids.map((pid) =>
    Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]),
  );
}

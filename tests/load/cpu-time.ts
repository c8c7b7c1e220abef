import { readdirSync, readFileSync } from "node:fs";

/** Kernel ticks of CPU time are hundredths of a second on every Linux that Node runs on. */
const TICK_MS = 10;

/** Reads from /proc the CPU milliseconds used so far by each named process and its descendants. */
export function cpuTimes(roots: Record<string, number>): Record<string, number> {
  const parents = new Map<number, number>();
  const ticks = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      parents.set(Number(name), Number(fields[1]));
      ticks.set(Number(name), Number(fields[11]) + Number(fields[12]));
    } catch {
      // The process ended meanwhile.
    }
  }
  const named = new Map(Object.entries(roots).map(([name, pid]) => [pid, name]));
  const totals: Record<string, number> = Object.fromEntries(Object.keys(roots).map((name) => [name, 0]));
  for (const [pid, used] of ticks) {
    for (let ancestor: number | undefined = pid; ancestor; ancestor = parents.get(ancestor)) {
      const name = named.get(ancestor);
      if (!name) continue;
      totals[name] = (totals[name] ?? 0) + used * TICK_MS;
      break;
    }
  }
  return totals;
}

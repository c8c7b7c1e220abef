/** The parts of the stack, each a process that can be killed, frozen and started again. */
import { readdir, readFile } from "node:fs/promises";
import { sleep } from "../../../src/core/concurrency/sleep.ts";
import type { Service } from "../../../src/dev/services/service.ts";

const STARTS_WITHIN_MS = 90_000;
const RESTART_AFTER_MS = 500;

/** The kinds of parts. Faults name them, and so do the summaries. */
export type Kind =
  | "gateway"
  | "orchestrator"
  | "gpu-worker"
  | "admin"
  | "postgres"
  | "temporal"
  | "temporal-database"
  | "redis"
  | "object-store";

export interface Part {
  name: string;
  kind: Kind;
  pid(): number;
  /** The port of a service. */
  port?(): number;
  /** Starts it. Resolves when it is ready. */
  start(): Promise<void>;
  /** Ends it. Resolves when its process has ended. */
  end(signal: NodeJS.Signals): Promise<void>;
  /** Stops its processes where they are, as a network that is cut off does. */
  freeze(): Promise<void>;
  thaw(): Promise<void>;
}

/**
 * Makes a part of a service, which is kept alive as a supervisor does. `launch` is called for each of its
 * lives: Temporal ends by itself when it starts before its database.
 */
export function servicePart(kind: Kind, launch: () => Promise<Service>): Part {
  let service: Service | undefined;
  let isWanted = false;
  /** Before its first life, a failure is one of the set-up. */
  let hasStarted = false;
  let frozen: number[] = [];
  const running = (): Service => {
    if (!service) throw new Error(`${kind} was not started`);
    return service;
  };
  const thaw = async (): Promise<void> => {
    for (const pid of frozen) signal(pid, "SIGCONT");
    frozen = [];
  };
  return {
    name: kind,
    kind,
    pid: () => running().pid,
    port: () => running().port,
    start,
    async end(how) {
      isWanted = false;
      if (!service) return;
      await thaw();
      if (how === "SIGTERM") return service.stop();
      signal(service.pid, how);
      await service.ended;
    },
    async freeze() {
      frozen = await withDescendants(running().pid);
      for (const pid of frozen) signal(pid, "SIGSTOP");
    },
    thaw,
  };

  async function start(): Promise<void> {
    isWanted = true;
    for (const giveUpMs = performance.now() + STARTS_WITHIN_MS; isWanted; await sleep(RESTART_AFTER_MS)) {
      try {
        const life = await launch();
        service = life;
        if (!isWanted) return life.stop();
        hasStarted = true;
        void life.ended.then(() => {
          if (isWanted && service === life) start().catch(() => {});
        });
        return;
      } catch (error) {
        if (!hasStarted || performance.now() > giveUpMs) throw error;
      }
    }
  }
}

/** Sends a signal to a process that may have ended. */
export function signal(pid: number, name: NodeJS.Signals): void {
  // 0 would be the group of this process.
  if (pid <= 0) return;
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Lists the processes of this machine: id, parent, command line. */
export async function listProcesses(): Promise<{ pid: number; parent: number; command: string }[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const [stat, command] = await Promise.all([
        readFile(`/proc/${pid}/stat`, "utf8").catch(() => ""),
        readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => ""),
      ]);
      const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return { pid: Number(pid), parent: Number(parent), command, isOver: state === "Z" || stat === "" };
    }),
  );
  return found.filter(({ isOver }) => !isOver);
}

/** Lists a process and those that descend from it. */
async function withDescendants(pid: number): Promise<number[]> {
  const all = await listProcesses();
  const found = [pid];
  for (const each of found) for (const one of all) if (one.parent === each) found.push(one.pid);
  return found;
}

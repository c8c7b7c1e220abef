/** A network of its own for a service, which no other user of this machine reaches (Linux namespaces). */
import { execFile } from "node:child_process";
import { readlink } from "node:fs/promises";
import { promisify } from "node:util";
import { sleep } from "../../core/concurrency/sleep.ts";
import type { Command } from "../services/user-rights.ts";

const run = promisify(execFile);

export interface OwnNetwork {
  /** Makes a command run in a new network, with a loopback device and nothing else. */
  isolate(command: string, args: string[]): Command;
  /** Makes a command run in the network of such a process, once that has it. */
  join(pid: number, command: string, args: string[]): Promise<Command>;
}

const LOOPBACK_UP = "ip link set lo up";
/** An ordinary user has the rights in the network that it made; the program itself has none. */
const WITHOUT_RIGHTS = "setpriv --inh-caps=-all --ambient-caps=-all --bounding-set=-all --no-new-privs";

/** Finds out whether this host lets this user make networks. */
export async function findOwnNetwork(): Promise<OwnNetwork | undefined> {
  if (process.platform !== "linux") return undefined;
  const isRoot = process.getuid?.() === 0;
  const unshare = ["--net", ...(isRoot ? [] : ["--user", "--map-root-user"])];
  const enter = ["--net", ...(isRoot ? [] : ["--user", "--preserve-credentials"])];
  const script = `${LOOPBACK_UP} && exec ${isRoot ? "" : WITHOUT_RIGHTS} "$@"`;
  const isolate = (command: string, args: string[]): Command => ({
    command: "unshare",
    args: [...unshare, "--", "sh", "-c", script, "sh", command, ...args],
  });
  const probe = isolate("nsenter", ["--version"]);
  const works = await run(probe.command, probe.args).then(
    () => true,
    () => false,
  );
  if (!works) return undefined;
  return {
    isolate,
    async join(pid, command, args) {
      const own = await readlink("/proc/self/ns/net");
      while ((await readlink(`/proc/${pid}/ns/net`)) === own) await sleep(5);
      return { command: "nsenter", args: ["--target", String(pid), ...enter, "--", command, ...args] };
    },
  };
}

/** The command that puts a process into a cage, and how its end is reported. */
import { constants } from "node:os";
import { fileURLToPath } from "node:url";
import type { CageLayers } from "./cage-plan.ts";

const RUN_CAGED = fileURLToPath(new URL("./run-caged.cjs", import.meta.url));

/**
 * Gives the command that enters a cage. With namespaces, a shell is the first process of the engine's: the
 * kernel ends all others when it ends, it collects those that lost their parent, and it is no target, as it
 * has the rights of the GPU worker. The kernel ends the shell with
 * `unshare`, and that with the GPU worker (`setpriv`).
 * Descriptor 3 carries the standard input, which shells take from a program in the background.
 */
export function enterCommand(layers: Pick<CageLayers, "namespaces">): {
  command: readonly [string, ...string[]];
  depth: number;
} {
  const enter = [process.execPath, RUN_CAGED] as const;
  if (!layers.namespaces) return { command: enter, depth: 0 };
  const asRoot = process.getuid?.() === 0 ? [] : ["--user", "--map-root-user"];
  const kinds = ["--mount", "--pid", "--net", "--ipc", "--uts"];
  const shell = ["sh", "-c", 'exec 3<&0; "$@" <&3 3<&- & exec <&- 2<&- 3<&-; wait $!', "sh"];
  const withWorker = ["--pdeathsig", "KILL", "unshare"];
  return {
    command: ["setpriv", ...withWorker, ...asRoot, ...kinds, "--fork", "--kill-child", ...shell, ...enter],
    depth: 2,
  };
}

/** Names the signal that a shell reports as an exit code: 137 is `SIGKILL`. */
export function signalOf(exitCode: number | null): string | undefined {
  if (exitCode === null || exitCode <= 128) return undefined;
  return Object.entries(constants.signals).find(([, number]) => number === exitCode - 128)?.[0];
}

/** Rights of the services' processes: no capability beyond those of their user, and files of their own. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { SetupError } from "../setup-error.ts";

const run = promisify(execFile);

/** The user `nobody`, as which a program runs that refuses to run as root. */
export const NOBODY = { uid: 65534, gid: 65534 };

/** A command line, and the user that Node itself changes to. */
export interface Command {
  command: string;
  args: string[];
  user?: { uid: number; gid: number };
}

const NO_CAPABILITIES = ["--inh-caps=-all", "--ambient-caps=-all"];
const AS_NOBODY = [
  ...[`--reuid=${NOBODY.uid}`, `--regid=${NOBODY.gid}`, "--clear-groups"],
  ...[...NO_CAPABILITIES, "--bounding-set=-all", "--no-new-privs"],
];

/**
 * Resolves with a function that makes commands run as `nobody`, without any capability. `setpriv` of
 * util-linux also takes away the ways to get one back. Without it, the change of the user takes those away
 * that the process has.
 */
export async function asNobody(): Promise<(command: string, args: string[]) => Command> {
  const canUseSetpriv = await run("setpriv", [...AS_NOBODY, "true"]).then(
    () => true,
    () => false,
  );
  return canUseSetpriv
    ? (command, args) => ({ command: "setpriv", args: [...AS_NOBODY, command, ...args] })
    : (command, args) => ({ command, args, user: NOBODY });
}

/**
 * Makes a command create files that only its user can open, and leave behind the capabilities that this
 * process would hand on (those of systemd's `AmbientCapabilities`, for example to listen on port 443).
 *
 * Rejects with `setup_failed` where it cannot leave them behind.
 */
export async function withOwnRights({ command, args, user }: Command): Promise<Command> {
  const status = await readFile("/proc/self/status", "utf8").catch(() => "");
  const handsOn = /^Cap(Inh|Amb):\s*0*[1-9a-f]/m.test(status);
  if (handsOn && command !== "setpriv") {
    await run("setpriv", [...NO_CAPABILITIES, "true"]).catch(() => {
      throw new SetupError(
        "this process has ambient or inheritable capabilities, which its services would get; " +
          "install `setpriv` (util-linux), or start without them",
      );
    });
    args = [...NO_CAPABILITIES, command, ...args];
    command = "setpriv";
  }
  return {
    command: "/bin/sh",
    args: ["-c", 'umask 077 && exec "$@"', "sh", command, ...args],
    ...(user && { user }),
  };
}

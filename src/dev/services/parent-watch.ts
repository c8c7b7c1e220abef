import { type ChildProcess, spawn } from "node:child_process";

/**
 * Ends the services when this process dies, however it dies.
 *
 * Services run in process groups of their own, so that Ctrl-C reaches the platform first and lets it drain.
 * Nobody would end them after a `kill -9` of the platform: a shell of a megabyte holds the other end of a
 * pipe from this process, and when the pipe closes it sends each service its stop signal, and SIGKILL to what
 * is left ten seconds later.
 */
const WATCHER = `
list=
while read -r sign entry; do
  if [ "$sign" = + ]; then list="$list $entry"; continue; fi
  kept=
  for one in $list; do [ "$one" = "$entry" ] || kept="$kept $one"; done
  list=$kept
done
for one in $list; do kill -"\${one%%:*}" "\${one##*:}" 2>/dev/null; done
tries=0
while [ $tries -lt 10 ]; do
  alive=
  for one in $list; do kill -0 "\${one##*:}" 2>/dev/null && alive=yes; done
  [ -z "$alive" ] && exit 0
  tries=$((tries + 1)); sleep 1
done
for one in $list; do kill -KILL "\${one##*:}" 2>/dev/null; done
`;

let watcher: ChildProcess | undefined;

/**
 * Has the process ended with this one. Returns how to take that back, once the process has ended by itself.
 */
export function endWithParent(pid: number, stopSignal: NodeJS.Signals): () => void {
  const entry = `${stopSignal.replace("SIG", "")}:${pid}`;
  tell(`+ ${entry}`);
  return () => tell(`- ${entry}`);
}

function tell(line: string): void {
  watcher ??= startWatcher();
  watcher.stdin?.write(`${line}\n`);
}

function startWatcher(): ChildProcess {
  const child = spawn("/bin/sh", ["-c", WATCHER], { detached: true, stdio: ["pipe", "ignore", "ignore"] });
  // Neither the watcher nor its pipe keeps this process alive.
  child.unref();
  if (child.stdin && "unref" in child.stdin && typeof child.stdin.unref === "function") child.stdin.unref();
  child.stdin?.on("error", () => {});
  child.on("error", () => {});
  return child;
}

import { type ChildProcess, spawn } from "node:child_process";

/**
 * Stops the services when this process dies, for whatever reason.
 *
 * Services run in process groups of their own, so that Ctrl-C reaches only the platform and lets it drain.
 * After a `kill -9` of the platform nobody would stop them. Therefore a shell (of one megabyte) holds the
 * other end of a pipe from this process: when the pipe closes, it sends each service its stop signal, and
 * SIGKILL to those left ten seconds later.
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

/** Makes a process end with this one. Call the returned function once it has ended by itself. */
export function endWithParent(pid: number, stopSignal: NodeJS.Signals): () => void {
  const entry = `${stopSignal.replace("SIG", "")}:${pid}`;
  write(`+ ${entry}`);
  return () => write(`- ${entry}`);
}

function write(line: string): void {
  watcher ??= startWatcher();
  watcher.stdin?.write(`${line}\n`);
}

function startWatcher(): ChildProcess {
  const child = spawn("/bin/sh", ["-c", WATCHER], { detached: true, stdio: ["pipe", "ignore", "ignore"] });
  // Neither the watcher nor its pipe may keep this process alive.
  child.unref();
  if (child.stdin && "unref" in child.stdin && typeof child.stdin.unref === "function") child.stdin.unref();
  child.stdin?.on("error", () => {});
  child.on("error", () => {});
  return child;
}

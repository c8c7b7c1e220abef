/**
 * An engine that has been taken over: it tries everything that a hostile program would, and prints what of
 * that it could do, as one line of JSON. `cage.test.ts` starts it; the last but one argument has its targets.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { connect, createServer } from "node:net";
import { cpus, setPriority, tmpdir } from "node:os";
import { join } from "node:path";
import koffi from "koffi";

export interface Targets {
  /** A process of the GPU worker's user. */
  victim: number;
  /** A file with a secret, as in the data folder or of another engine. */
  secrets: readonly string[];
  /** A folder of the program. */
  program: string;
  /** A port on which something listens, as PostgreSQL does. */
  port: number;
  /** A socket in the file system, and an abstract one. */
  sockets: readonly [string, string];
  scratchBytesMax: number;
  dataBytesMax: number;
  processesMax: number;
}

const targets = JSON.parse(process.argv.at(-2) ?? "") as Targets;
const { victim } = targets;
const arm = process.arch === "arm64";

const system = koffi.load(null);
const raw = system.func("long syscall(long, long, long, long, long, long)");
const mount = system.func("int mount(const char *, const char *, const char *, unsigned long, void *)");
const umount = system.func("int umount(const char *)");
const mknod = system.func("int mknod(const char *, unsigned int, uint64)");
const mmap = system.func("intptr_t mmap(void *, uint64, int, int, int, int64)");
const addKey = system.func("syscall", "long", ["long", "str", "str", "str", "size_t", "int"]);
const sethostname = system.func("int sethostname(const char *, size_t)");
const setresuid = system.func("int setresuid(unsigned int, unsigned int, unsigned int)");
const withBuffer = system.func("syscall", "long", ["long", "long", "void *", "long", "long"]);

/** Calls the kernel by number, on x64 or arm64. */
const kernel = (numbers: readonly [number, number], ...args: number[]): number => {
  const [a = 0, b = 0, c = 0, d = 0, e = 0] = args;
  return Number(raw(numbers[arm ? 1 : 0], a, b, c, d, e));
};
const descriptor = (result: number): boolean => {
  if (result >= 0) closeSync(result);
  return result >= 0;
};

const reads = (path: string) => () => readFileSync(path).length >= 0;
const opens = (path: string, flags: string) => () => descriptor(openSync(path, flags));

/** Writes a file and removes it. */
const writes = (path: string) => () => {
  writeFileSync(path, "x");
  rmSync(path);
  return true;
};

const connects = (to: { port: number } | { path: string }) => async () => {
  const socket = connect(to);
  await once(socket, "connect");
  socket.destroy();
  return true;
};

async function listens(): Promise<boolean> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  server.close();
  return true;
}

/** Starts more processes than it may: shells that wait for the end of one pipe. */
async function forks(): Promise<boolean> {
  const count = targets.processesMax + 4 * cpus().length + 20;
  const loop = `i=0; while [ $i -lt ${count} ]; do (read x) <&3 & i=$((i+1)); done; echo all`;
  const shell = spawn("sh", ["-c", loop], { stdio: ["ignore", "pipe", "ignore", "pipe"] });
  let output = "";
  shell.stdout?.on("data", (data) => {
    output += data;
    (shell.stdio[3] as { destroy(): void }).destroy();
  });
  await once(shell, "exit");
  (shell.stdio[3] as { destroy(): void }).destroy();
  return output.includes("all");
}

/** Opens more files than it may. */
function opensMany(): boolean {
  const files: number[] = [];
  try {
    while (files.length < 5_000) files.push(openSync("/dev/null", "r"));
    return true;
  } finally {
    for (const file of files) closeSync(file);
  }
}

/** Writes a byte behind the largest size of a file, which takes no space. */
function writesLargeFile(): boolean {
  const path = join(tmpdir(), "large");
  const file = openSync(path, "w");
  try {
    return writeSync(file, Buffer.of(1), 0, 1, targets.scratchBytesMax + 1) === 1;
  } finally {
    closeSync(file);
    rmSync(path);
  }
}

function mounts(): boolean {
  const folder = join(tmpdir(), "mount");
  mkdirSync(folder, { recursive: true });
  if (mount("none", folder, "tmpfs", 0, null) !== 0) return false;
  umount(folder);
  return true;
}

const TRACE = { seize: 0x4206, detach: 17 };
/** Traces the victim, and lets it go. */
function traces(): boolean {
  if (kernel([101, 117], TRACE.seize, victim, 0, 0) !== 0) return false;
  kernel([101, 117], 0x4207, victim, 0, 0);
  kernel([101, 117], TRACE.detach, victim, 0, 0);
  return true;
}

const [AF_INET, AF_NETLINK, AF_PACKET] = [2, 16, 17];
const socket = (family: number, type: number, protocol = 0) =>
  descriptor(kernel([41, 198], family, type, protocol));

const ATTACKS: Record<string, () => boolean | Promise<boolean>> = {
  "read the environment of a process": reads(`/proc/${victim}/environ`),
  "read the memory of a process": opens(`/proc/${victim}/mem`, "r"),
  "read the files of a process through its root": reads(`/proc/${victim}/root/etc/hostname`),
  "read the command line of a process": reads(`/proc/${victim}/cmdline`),
  "list processes": () => readdirSync("/proc").includes(String(victim)),
  "send a signal to a process": () => process.kill(victim, 0),
  "trace a process": traces,
  "compare itself with a process": () => kernel([312, 272], process.pid, victim, 1) >= 0,
  "take a descriptor of a process": () => {
    const pidfd = kernel([434, 434], victim, 0);
    return pidfd >= 0 && descriptor(kernel([438, 438], pidfd, 0, 0));
  },
  ...Object.fromEntries(targets.secrets.map((path, index) => [`read secret ${index + 1}`, reads(path)])),
  ...Object.fromEntries(
    targets.secrets.map((path, index) => [`change secret ${index + 1}`, opens(path, "r+")]),
  ),
  "read /etc/shadow": reads("/etc/shadow"),
  "read the host's name": reads("/etc/hostname"),
  "list /root": () => readdirSync("/root").length >= 0,
  "write the program": writes(join(targets.program, "attack.txt")),
  "write the cache of the program": writes(join(targets.program, "../node_modules/.cache/attack.txt")),
  "write to /var/tmp": writes("/var/tmp/tempera-attack.txt"),
  "write to /usr": writes("/usr/tempera-attack.txt"),
  "change a setting of the kernel": opens("/proc/sys/kernel/core_pattern", "r+"),
  "read the kernel's log": opens("/dev/kmsg", "r"),
  "connect to a port of the machine": connects({ port: targets.port }),
  "connect to a socket in the file system": connects({ path: targets.sockets[0] }),
  "connect to an abstract socket": connects({ path: targets.sockets[1] }),
  "listen on a port": listens,
  "make a datagram socket": () => socket(AF_INET, 2),
  "make a raw socket": () => socket(AF_INET, 3, 1),
  "make a packet socket": () => socket(AF_PACKET, 3),
  "make a netlink socket": () => socket(AF_NETLINK, 3),
  "become root": () => setresuid(0, 0, 0) === 0,
  "raise its priority": () => {
    setPriority(-5);
    return true;
  },
  "make a device": () => {
    const path = join(tmpdir(), "device");
    const made = mknod(path, 0o20600, 0x101) === 0;
    if (made) rmSync(path);
    return made;
  },
  mount: mounts,
  "make a user namespace": () => spawnSync("unshare", ["-U", "true"]).status === 0,
  "enter a namespace of a process": () => {
    const file = openSync(`/proc/${victim}/ns/net`, "r");
    const entered = kernel([308, 268], file, 0) === 0;
    closeSync(file);
    return entered;
  },
  "name the machine": () => sethostname("tempera", 0) === 0,
  "keep a key in the kernel": () => Number(addKey(arm ? 217 : 248, "user", "tempera", "x", 1, -2)) >= 0,
  "handle faults of pages": () => descriptor(kernel([323, 282], 0o2000001)),
  "use io_uring": () => descriptor(Number(withBuffer(425, 1, Buffer.alloc(120), 0, 0))),
  "load a program into the kernel": () => {
    const map = Buffer.alloc(72);
    for (const [index, value] of [2, 4, 4, 1].entries()) map.writeUInt32LE(value, 4 * index);
    return descriptor(Number(withBuffer(arm ? 280 : 321, 0, map, map.length, 0)));
  },
  "leave its process group": () => spawnSync("setsid", ["true"]).status === 0,
  "start too many processes": forks,
  "open too many files": opensMany,
  "write too large a file": writesLargeFile,
  "fill the disk": () => {
    const { blocks, bsize } = statfsSync(tmpdir());
    return blocks * bsize > targets.scratchBytesMax;
  },
  // Private, anonymous, and reserved without being used.
  "take too much memory": () => Number(mmap(null, targets.dataBytesMax, 3, 0x4022, -1, 0)) !== -1,
};

const could: string[] = [];
for (const [name, attack] of Object.entries(ATTACKS))
  if (
    await Promise.resolve()
      .then(attack)
      .catch(() => false)
  )
    could.push(name);

// The cage leaves what an engine needs.
const scratch = join(tmpdir(), "scratch.txt");
writeFileSync(scratch, "x");
const needs = { scratch: existsSync(scratch), program: existsSync(targets.program) };
console.log(JSON.stringify({ tried: Object.keys(ATTACKS), could, needs, user: process.getuid?.() }));
process.exit(0);

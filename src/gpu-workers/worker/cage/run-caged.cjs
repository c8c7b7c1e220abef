/**
 * Puts this process into a cage and then becomes the engine: `node run-caged.cjs`, with the plan
 * (`CagePlan` of cage.ts) as JSON in the variable TEMPERA_CAGE.
 *
 * Every layer is asked of the kernel by this process for itself; `execve` then replaces it by the engine,
 * which keeps the cage, and so does everything that the engine starts. A layer that fails ends the process
 * with one line on stderr: an engine never runs with less than its plan. This file is CommonJS because that
 * starts faster, and because it runs before TypeScript can be read.
 */
const {
  closeSync,
  mkdirSync,
  openSync,
  lstatSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} = require("node:fs");
const { arch, chdir, env, exit, umask } = require("node:process");
const { dirname, join } = require("node:path");
const { getSystemErrorName } = require("node:util");
const koffi = require("koffi");
const { callFilter } = require("./call-filter.cjs");

const system = koffi.load(null);
const call = (...types) => system.func("syscall", "long", ["long", ...types]);
/** Numbers of system calls without a function in every C library. */
const [PIVOT_ROOT, CAPSET] = arch === "arm64" ? [41, 91] : [155, 126];
const [CLOSE_RANGE, MOUNT_SETATTR, CREATE_RULESET, ADD_RULE, RESTRICT_SELF] = [436, 442, 444, 445, 446];

const kernel = {
  capset: call("void *", "void *"),
  closeRange: call("unsigned int", "unsigned int", "unsigned int"),
  pivotRoot: call("const char *", "const char *"),
  mountSetattr: call("int", "const char *", "unsigned int", "void *", "size_t"),
  createRuleset: call("void *", "size_t", "unsigned int"),
  addRule: call("int", "int", "void *", "unsigned int"),
  restrictSelf: call("int", "unsigned int"),
  mount: system.func("int mount(const char *, const char *, const char *, unsigned long, const char *)"),
  umount: system.func("int umount2(const char *, int)"),
  prctl: system.func("int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)"),
  filter: system.func("prctl", "int", [
    "int",
    "unsigned long",
    koffi.pointer(koffi.struct("sock_fprog", { len: "uint16", filter: "void *" })),
  ]),
  setrlimit: system.func("int setrlimit(int, void *)"),
  setgroups: system.func("int setgroups(size_t, void *)"),
  setresgid: system.func("int setresgid(unsigned int, unsigned int, unsigned int)"),
  setresuid: system.func("int setresuid(unsigned int, unsigned int, unsigned int)"),
  signal: system.func("void *signal(int, void *)"),
  fcntl: system.func("int fcntl(int, int, int)"),
  execve: system.func("int execve(const char *, const char **, const char **)"),
};

/** @throws an error that names the step and the kernel's reason when a call has failed */
function must(step, result) {
  if (result >= 0) return result;
  const reason = getSystemErrorName(-koffi.errno());
  throw new Error(`${step}: ${reason}`);
}

const [MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC] = [2, 4, 8, 4096, 16384];
const [READ_ONLY, NO_SETUID, NO_DEVICES] = [1, 2, 4];
const AT_RECURSIVE = 0x8000;
const MNT_DETACH = 2;
const DEVICES = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/**
 * Replaces the file system by one that has nothing but what the plan names, in a mount namespace of its own:
 * programs and weights read-only, one scratch folder in memory, processes of this engine in /proc.
 */
function enterPrivateRoot({ root, readable, exchange, inputs, devices, scratchBytes, user }) {
  const owner = user === undefined ? "" : `,uid=${user},gid=${user}`;
  mountAt("tmpfs", root, MS_NOSUID | MS_NODEV, "size=8m,mode=0755");
  mkdirSync(join(root, "tmp"));
  const scratch = `size=${scratchBytes},nr_inodes=65536,mode=0700${owner}`;
  mountAt("tmpfs", join(root, "tmp"), MS_NOSUID | MS_NODEV, scratch);
  for (const folder of ["proc", "dev", "etc"]) mkdirSync(join(root, folder));
  mountAt("proc", join(root, "proc"), MS_NOSUID | MS_NODEV | MS_NOEXEC, null);
  for (const device of [...DEVICES, ...devices]) bind(root, device, NO_SETUID);
  symlinkSync("/tmp", join(root, "dev/shm"));
  symlinkSync("/proc/self/fd", join(root, "dev/fd"));
  const id = user ?? 0;
  writeFileSync(join(root, "etc/passwd"), `engine:x:${id}:${id}::/tmp:/bin/false\n`);
  writeFileSync(join(root, "etc/group"), `engine:x:${id}:\n`);
  /** Paths whose contents are there already. */
  const present = [];
  for (const path of [...readable].sort((one, other) => one.length - other.length)) {
    if (present.some((folder) => path === folder || path.startsWith(`${folder}/`))) continue;
    present.push(path);
    if (isTopLink(path)) symlinkSync(readlinkSync(path), join(root, path));
    else bind(root, path, READ_ONLY | NO_SETUID | NO_DEVICES);
  }
  bind(root, exchange, NO_SETUID | NO_DEVICES, 0);
  bind(root, inputs, READ_ONLY | NO_SETUID | NO_DEVICES, 0);
  setAttributes(root, 0, READ_ONLY);
  chdir(root);
  must("pivot_root", kernel.pivotRoot(PIVOT_ROOT, ".", "."));
  must("umount", kernel.umount(".", MNT_DETACH));
  chdir("/");
}

/** Tells links such as /lib → usr/lib, whose target is mounted by itself. */
const isTopLink = (path) => dirname(path) === "/" && lstatSync(path).isSymbolicLink();

const mountAt = (type, target, flags, options) =>
  must(`mount ${type}`, kernel.mount(type, target, type, flags, options));

/**
 * Makes the folders on the way to what the engine may read. It passes through them and cannot list them: of a
 * Node in /root/.cache, it sees no more than it was told. The rights bind their owner too.
 */
const makeWay = (folder) => mkdirSync(folder, { recursive: true, mode: 0o111 });

/** @param below MS_REC with what is mounted below `path`, or 0 without it */
function bind(root, path, attributes, below = MS_REC) {
  const target = join(root, path);
  if (statSync(path).isDirectory()) makeWay(target);
  else {
    makeWay(dirname(target));
    closeSync(openSync(target, "a"));
  }
  must(`mount ${path}`, kernel.mount(path, target, null, MS_BIND | below, null));
  setAttributes(target, below ? AT_RECURSIVE : 0, attributes);
}

function setAttributes(target, flags, attributes) {
  const bytes = Buffer.alloc(32);
  bytes.writeBigUInt64LE(BigInt(attributes), 0);
  must(
    `mount_setattr ${target}`,
    kernel.mountSetattr(MOUNT_SETATTR, -100, target, flags, bytes, bytes.length),
  );
}

/** Rights of Landlock to files, from linux/landlock.h, and the ABI that knows all from there on. */
const RIGHTS = { execute: 1, write: 2, read: 4, list: 8, socket: 1 << 9, refer: 1 << 13 };
const TRUNCATE = 1 << 14;
const CONTROL_DEVICES = 1 << 15;
const rightsOfAbi = (abi) =>
  0x1fff | (abi >= 2 ? RIGHTS.refer : 0) | (abi >= 3 ? TRUNCATE : 0) | (abi >= 5 ? CONTROL_DEVICES : 0);
/** All rights to a folder but those to make device nodes. */
const OWN_FOLDER = 0xffff & ~((1 << 6) | (1 << 11));
const OF_FILES = RIGHTS.execute | RIGHTS.write | RIGHTS.read | TRUNCATE | CONTROL_DEVICES;
const O_PATH = 0x200000;

/** Restricts files, TCP, signals and abstract sockets by Landlock, as far as the kernel's ABI has them. */
function restrictByLandlock({ readable, exchange, inputs, devices, scratch, namespaces }) {
  const abi = must("landlock_create_ruleset", kernel.createRuleset(CREATE_RULESET, null, 0, 1));
  const handled = rightsOfAbi(abi);
  const attributes = Buffer.alloc(abi >= 6 ? 24 : abi >= 4 ? 16 : 8);
  attributes.writeBigUInt64LE(BigInt(handled), 0);
  if (abi >= 4) attributes.writeBigUInt64LE(3n, 8);
  if (abi >= 6) attributes.writeBigUInt64LE(3n, 16);
  const ruleset = must(
    "landlock_create_ruleset",
    kernel.createRuleset(CREATE_RULESET, attributes, attributes.length, 0),
  );
  const permit = (path, rights) => {
    const file = openSync(path, O_PATH);
    const rule = Buffer.alloc(12);
    rule.writeBigUInt64LE(BigInt(rights & handled & (statSync(path).isDirectory() ? 0xffff : OF_FILES)), 0);
    rule.writeInt32LE(file, 8);
    must(`landlock_add_rule ${path}`, kernel.addRule(ADD_RULE, ruleset, 1, rule, 0));
    closeSync(file);
  };
  const read = RIGHTS.read | RIGHTS.list;
  for (const path of readable) permit(path, read | RIGHTS.execute);
  for (const path of [...DEVICES, ...devices]) permit(path, read | RIGHTS.write | CONTROL_DEVICES);
  permit("/proc", read);
  if (namespaces) permit("/etc", read);
  permit(exchange, RIGHTS.socket);
  permit(inputs, read);
  permit(scratch, OWN_FOLDER);
  must("landlock_restrict_self", kernel.restrictSelf(RESTRICT_SELF, ruleset, 0));
}

const PR = { pdeathsig: 1, seccomp: 22, dropBounding: 24, noNewPrivileges: 38 };
const CLOSE_RANGE_CLOEXEC = 4;
const F_SETFD = 2;
const SIGKILL = 9;
const SIGPIPE = 13;

/** Gives up every capability, for this process and whatever it starts. */
function dropCapabilities() {
  for (let capability = 0; kernel.prctl(PR.dropBounding, capability, 0, 0, 0) === 0; capability++);
}

function clearCapabilities() {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(0x20080522, 0);
  must("capset", kernel.capset(CAPSET, header, Buffer.alloc(24)));
}

function becomeUser(user) {
  must("setgroups", kernel.setgroups(0, null));
  must("setresgid", kernel.setresgid(user, user, user));
  must("setresuid", kernel.setresuid(user, user, user));
}

const RESOURCES = { fileBytes: 1, dataBytes: 2, coreBytes: 4, processes: 6, openFiles: 7 };

function setLimits(limits) {
  for (const [name, value] of Object.entries(limits)) {
    const bytes = Buffer.alloc(16);
    bytes.writeBigUInt64LE(BigInt(value), 0);
    bytes.writeBigUInt64LE(BigInt(value), 8);
    must(`setrlimit ${name}`, kernel.setrlimit(RESOURCES[name], bytes));
  }
}

/** Has the kernel end an engine rather than anybody else when the machine's memory runs out. */
function beFirstWhenMemoryEnds() {
  try {
    writeFileSync("/proc/self/oom_score_adj", "1000");
  } catch {
    // A container may have a /proc that is read-only. The limits hold without it.
  }
}

function filterCalls() {
  const filter = callFilter(arch);
  if (!filter) throw new Error(`seccomp: no list of system calls for ${arch}`);
  must("seccomp", kernel.filter(PR.seccomp, 2, { len: filter.length / 8, filter }));
}

function enterCage(plan) {
  if (plan.limits) beFirstWhenMemoryEnds();
  const readable = plan.readable.filter((path) => statSync(path, { throwIfNoEntry: false }));
  if (plan.namespaces) {
    // The engine's own user passes through the folders that are made here.
    const mask = umask(0o022);
    enterPrivateRoot({ ...plan, readable });
    umask(mask);
  }
  dropCapabilities();
  if (plan.user !== undefined) becomeUser(plan.user);
  clearCapabilities();
  must("no_new_privs", kernel.prctl(PR.noNewPrivileges, 1, 0, 0, 0));
  // After the change of user, which forgets it.
  must("pdeathsig", kernel.prctl(PR.pdeathsig, SIGKILL, 0, 0, 0));
  if (plan.landlock) restrictByLandlock({ ...plan, readable });
  if (plan.limits) setLimits(plan.limits);
  if (plan.seccomp) filterCalls();
  // Node marks its own so; this is for what it has inherited, on Linux 5.11 or newer.
  kernel.closeRange(CLOSE_RANGE, 3, 0xffffffff, CLOSE_RANGE_CLOEXEC);
  // Node keeps its standard streams to itself.
  for (const stream of [0, 1, 2]) must("fcntl", kernel.fcntl(stream, F_SETFD, 0));
  kernel.signal(SIGPIPE, null);
}

try {
  const plan = JSON.parse(env.TEMPERA_CAGE);
  enterCage(plan);
  const [program, ...args] = plan.command;
  const environment = Object.entries(plan.environment).map(([name, value]) => `${name}=${value}`);
  must(`execve ${program}`, kernel.execve(program, [program, ...args, null], [...environment, null]));
} catch (error) {
  process.stderr.write(`the engine cannot be isolated: ${error.message}\n`);
  exit(1);
}

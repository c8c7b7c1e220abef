/**
 * The filter of system calls of an engine: a program for seccomp that refuses what no engine needs and an
 * attacker wants. Everything else is permitted, so that Node, Python, onnxruntime and CUDA work as ever.
 */

/** Numbers of the refused calls on [x64, arm64]; `undefined` where the processor has no such call. */
const REFUSED = {
  // Other processes: their memory, files and signals' groups.
  ptrace: [101, 117],
  process_vm_readv: [310, 270],
  process_vm_writev: [311, 271],
  process_madvise: [440, 440],
  kcmp: [312, 272],
  pidfd_getfd: [438, 438],
  migrate_pages: [256, 238],
  move_pages: [279, 239],
  // All of an engine stays in the process group that its GPU worker ends.
  setsid: [112, 157],
  setpgid: [109, 154],
  // Mounts and namespaces.
  mount: [165, 40],
  umount2: [166, 39],
  pivot_root: [155, 41],
  chroot: [161, 51],
  open_tree: [428, 428],
  move_mount: [429, 429],
  fsopen: [430, 430],
  fsconfig: [431, 431],
  fsmount: [432, 432],
  fspick: [433, 433],
  mount_setattr: [442, 442],
  open_tree_attr: [467, 467],
  setns: [308, 268],
  unshare: [272, 97],
  // Files by handle, which pass by the folders above them, and device nodes.
  open_by_handle_at: [304, 265],
  name_to_handle_at: [303, 264],
  mknod: [133],
  mknodat: [259, 33],
  fanotify_init: [300, 262],
  // Parts of the kernel with a history of faults that no engine uses.
  bpf: [321, 280],
  perf_event_open: [298, 241],
  userfaultfd: [323, 282],
  add_key: [248, 217],
  request_key: [249, 218],
  keyctl: [250, 219],
  io_uring_setup: [425, 425],
  io_uring_enter: [426, 426],
  io_uring_register: [427, 427],
  shmget: [29, 194],
  personality: [135, 92],
  modify_ldt: [154],
  // The machine itself.
  kexec_load: [246, 104],
  kexec_file_load: [320, 294],
  init_module: [175, 105],
  finit_module: [313, 273],
  delete_module: [176, 106],
  reboot: [169, 142],
  swapon: [167, 224],
  swapoff: [168, 225],
  acct: [163, 89],
  quotactl: [179, 60],
  quotactl_fd: [443, 443],
  sethostname: [170, 161],
  setdomainname: [171, 162],
  settimeofday: [164, 170],
  clock_settime: [227, 112],
  adjtimex: [159, 171],
  clock_adjtime: [305, 266],
  syslog: [103, 116],
  vhangup: [153, 58],
  iopl: [172],
  ioperm: [173],
};
const SOCKET = [41, 198];
const CLONE = [56, 220];
const CLONE3 = 435;

/** `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_AARCH64` of linux/audit.h. */
const ARCHITECTURES = { x64: 0xc000003e, arm64: 0xc00000b7 };
/** All flags of clone(2) that make a namespace. */
const CLONE_NAMESPACES = 0x7e020000;
const AF_UNIX = 1;
/** From here on x64 has the calls of another ABI, x32, under numbers of their own. */
const X32_CALLS = 0x40000000;

const ALLOW = 0x7fff0000;
const KILL = 0x80000000;
const errno = (number) => 0x00050000 | number;
const [EPERM, ENOSYS, EAFNOSUPPORT] = [1, 38, 97];

/** Instructions of classic BPF, 8 bytes each: `struct sock_filter` of linux/filter.h. */
const instruction = (code, value, ifTrue = 0, ifFalse = 0) => {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt8(ifTrue, 2);
  bytes.writeUInt8(ifFalse, 3);
  bytes.writeUInt32LE(value >>> 0, 4);
  return bytes;
};
const load = (offset) => instruction(0x20, offset);
const give = (action) => instruction(0x06, action);
const unlessEqual = (value, skip) => instruction(0x15, value, 0, skip);
const ifEqual = (value, skip) => instruction(0x15, value, skip, 0);
const unlessAtLeast = (value, skip) => instruction(0x35, value, 0, skip);
const unlessAnyBit = (value, skip) => instruction(0x45, value, 0, skip);

/** Offsets in `struct seccomp_data`. */
const [NUMBER, ARCHITECTURE, ARGUMENT_0] = [0, 4, 16];

/**
 * Gives the program for a processor; `undefined` for one whose calls are not listed here.
 *
 * Of the network, only Unix sockets are left: the engine speaks to its GPU worker over one. `clone3` is
 * reported as missing, since its flags cannot be read here; C libraries then use `clone`.
 *
 * @param architecture `process.arch`
 */
function callFilter(architecture) {
  const column = Object.keys(ARCHITECTURES).indexOf(architecture);
  if (column < 0) return undefined;
  return Buffer.concat([
    load(ARCHITECTURE),
    ifEqual(ARCHITECTURES[architecture], 1),
    give(KILL),
    load(NUMBER),
    ...(architecture === "x64" ? [unlessAtLeast(X32_CALLS, 1), give(errno(EPERM))] : []),
    ...Object.values(REFUSED).flatMap((numbers) =>
      numbers[column] === undefined ? [] : [unlessEqual(numbers[column], 1), give(errno(EPERM))],
    ),
    unlessEqual(CLONE3, 1),
    give(errno(ENOSYS)),
    unlessEqual(CLONE[column], 4),
    load(ARGUMENT_0),
    unlessAnyBit(CLONE_NAMESPACES, 1),
    give(errno(EPERM)),
    give(ALLOW),
    unlessEqual(SOCKET[column], 3),
    load(ARGUMENT_0),
    ifEqual(AF_UNIX, 1),
    give(errno(EAFNOSUPPORT)),
    give(ALLOW),
  ]);
}

module.exports = { callFilter };

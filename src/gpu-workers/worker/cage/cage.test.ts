import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { type AddressInfo, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LIMITS } from "../../../core/limits.ts";
import { nodeProgram } from "../process/engine-programs.ts";
import { engineIdOf, killEngine, spawnEngine } from "../process/spawn-engine.ts";
import type { Targets } from "./attacks.fixture.ts";
import { Cage, openCage } from "./cage.ts";
import type { CageLayers } from "./cage-plan.ts";
import { describeIsolation, probeLayers } from "./probe-layers.ts";

const SOURCES = resolve(import.meta.dirname, "../../..");
const attacker = nodeProgram(join(import.meta.dirname, "attacks.fixture.ts"));
const probed = await probeLayers();

/** Linux with all layers, and root: there an engine without a cage can do everything. */
const hasAll = probed.missing.length === 0 && isCapable();
/** All capabilities that the attacks need, CAP_SYS_ADMIN being the last that hosts give away. */
function isCapable(): boolean {
  try {
    const [, mask = "0"] = /CapEff:\s*(\w+)/.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
    return (BigInt(`0x${mask}`) & (1n << 21n)) !== 0n;
  } catch {
    return false;
  }
}

interface Report {
  tried: string[];
  could: string[];
  needs: Record<string, boolean>;
  user: number;
}

const home = mkdtempSync(join(tmpdir(), "cage-"));
const abstract = `\0tempera-${process.pid}`;
const servers: Server[] = [];
let victim: ChildProcess;
let port: number;
let secrets: string[];
let runs = 0;

beforeAll(async () => {
  chmodSync(home, 0o711);
  secrets = ["data/key", "weights/other-model", "9/in/0-input.png"].map((name) => join(home, name));
  for (const path of secrets) {
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(path, "a secret", { mode: 0o666 });
  }
  const listening = [0, join(home, "data/socket"), abstract].map(async (address) => {
    const server = createServer((socket) => socket.on("error", () => {}).end());
    servers.push(server);
    server.listen(typeof address === "number" ? { port: 0, host: "127.0.0.1" } : { path: address });
    await once(server, "listening");
    return server.address();
  });
  [{ port }] = (await Promise.all(listening)) as [AddressInfo];
  victim = spawn(process.execPath, ["-e", "process.stdin.resume()"], { stdio: ["pipe", "ignore", "ignore"] });
});
afterAll(() => {
  victim?.kill("SIGKILL");
  for (const server of servers) server.close();
  rmSync(home, { recursive: true, force: true });
});

async function attack(cage: Cage | undefined): Promise<Report> {
  const folder = join(home, "model");
  mkdirSync(folder, { recursive: true });
  const memoryMiB = 64;
  const targets: Targets = {
    victim: victim.pid ?? 0,
    secrets,
    program: SOURCES,
    port,
    sockets: [join(home, "data/socket"), abstract],
    scratchBytesMax: LIMITS.engineScratchBytesMax,
    dataBytesMax: (LIMITS.engineDataMiB + LIMITS.engineDataTimes * memoryMiB + 1) * 2 ** 20,
    processesMax: LIMITS.engineProcessesMax,
  };
  const lines: string[] = [];
  const { exited } = await spawnEngine({
    model: { folder, memoryMiB },
    program: { ...attacker, command: [...attacker.command, JSON.stringify(targets)] },
    socket: join(home, String(runs++), "engine.sock"),
    device: "cpu",
    cage,
    onLine: (_, line) => lines.push(line),
  });
  const end = await exited;
  const report = lines.find((line) => line.startsWith('{"tried"'));
  if (!report) throw new Error(`The attacks did not run (${end}): ${lines.join("\n")}`);
  return JSON.parse(report) as Report;
}

const NONE: CageLayers = {
  namespaces: false,
  user: false,
  landlock: false,
  seccomp: false,
  limits: false,
};
const cageOf = (layers: Partial<CageLayers>, isolation: "required" | "best-effort" = "best-effort") =>
  new Cage(isolation, { layers: { ...NONE, ...layers }, missing: [] });

/** Features that the kernel of a host may lack, or refuse to everybody. */
const FEATURES = [
  "compare itself with a process",
  "handle faults of pages",
  "keep a key in the kernel",
  "make a user namespace",
  "use io_uring",
];

let free: Promise<Report> | undefined;
function withoutCage(): Promise<Report> {
  free ??= attack(undefined);
  return free;
}

/** Leaves out what this host does not permit without a cage either. */
async function ofThisHost(attacks: string[]): Promise<string[]> {
  const { could } = await withoutCage();
  return attacks.filter((name) => could.includes(name));
}

describe.skipIf(!hasAll)("an engine that is taken over", () => {
  it("can do none of forty things in the cage, and keeps what an engine needs", async () => {
    const { tried, could, needs, user } = await attack(cageOf(probed.layers));
    expect(could).toEqual([]);
    expect(tried.length).toBeGreaterThanOrEqual(40);
    expect(needs).toEqual({ scratch: true, program: true });
    expect(user).toBeGreaterThanOrEqual(61_184);
  });

  it("can do all of them without the cage", async () => {
    const { tried, could } = await withoutCage();
    expect(tried.filter((name) => !could.includes(name) && !FEATURES.includes(name))).toEqual([]);
  });

  it("reads no secret and reaches no network where a host permits no namespaces", async () => {
    const { could } = await attack(cageOf({ landlock: true, seccomp: true, limits: true }));
    expect(could).toEqual(
      await ofThisHost([
        "read the command line of a process",
        "list processes",
        "connect to a socket in the file system",
        // It is root already, without the rights of root.
        "become root",
        "start too many processes",
        "fill the disk",
      ]),
    );
  });

  it("reads no secret and reaches no network where a kernel has neither Landlock nor seccomp", async () => {
    const { could } = await attack(cageOf({ namespaces: true, user: true, limits: true }));
    expect(could).toEqual(
      await ofThisHost([
        // In an empty network of its own.
        "listen on a port",
        "make a datagram socket",
        "make a netlink socket",
        "make a user namespace",
        "keep a key in the kernel",
        "handle faults of pages",
        "use io_uring",
        "leave its process group",
      ]),
    );
  });
});

/** Starts a program of one line in a folder of its own. */
async function start(source: string, cage: Cage | undefined, folder = join(home, "model")) {
  mkdirSync(folder, { recursive: true });
  const lines: string[] = [];
  let line: (text: string) => void = () => {};
  const first = new Promise<string>((done) => {
    line = done;
  });
  const spawned = await spawnEngine({
    model: { folder, memoryMiB: 64 },
    program: { command: [process.execPath, "-e", source] },
    socket: join(home, String(runs++), "engine.sock"),
    device: "cpu",
    cage,
    onLine: (level, text) => {
      lines.push(`${level} ${text}`);
      line(text);
    },
  });
  return { spawned, first, lines };
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}

describe.skipIf(!hasAll)("an isolated engine", () => {
  it("ends with everything that it has started, also what left its process group", async () => {
    const daemon = "require('child_process').spawn('sleep', ['600'], { detached: true, stdio: 'inherit' })";
    const { spawned, first } = await start(`${daemon}; console.log('up')`, cageOf({ namespaces: true }));
    await first;
    killEngine(spawned);
    // Whoever is left would hold the engine's output open.
    expect(await spawned.exited).toBe("was ended by SIGKILL");
  });

  it("ends with its GPU worker, also when it does not look at its standard input", async () => {
    const worker = join(home, "worker.mts");
    mkdirSync(join(home, "model"), { recursive: true });
    const options = {
      model: { folder: join(home, "model"), memoryMiB: 64 },
      program: { command: [process.execPath, "-e", "setInterval(() => {}, 1000); console.log('up')"] },
      socket: join(home, String(runs++), "engine.sock"),
      device: "cpu",
    };
    writeFileSync(
      worker,
      `import { Cage } from ${JSON.stringify(join(import.meta.dirname, "cage.ts"))};
      import { spawnEngine } from ${JSON.stringify(join(import.meta.dirname, "../process/spawn-engine.ts"))};
      const cage = new Cage("best-effort", { layers: ${JSON.stringify(probed.layers)}, missing: [] });
      const onLine = (_, line) => process.stdout.write(line);
      await spawnEngine({ ...${JSON.stringify(options)}, cage, onLine });`,
    );
    const [program, ...args] = nodeProgram(worker).command;
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
    await once(child.stdout, "data");
    const engines = () =>
      readdirSync("/proc").filter((pid) => commandOf(pid).includes("setInterval(() => {}, 1000)"));
    const [engine] = engines();
    expect(engine).toBeDefined();
    child.kill("SIGKILL");
    await expect.poll(engines).toEqual([]);
  });

  it("reports its process id and its end as any other engine does", async () => {
    const source = "console.log('up'); process.stdin.on('data', (text) => process.exit(Number(text)))";
    const one = await start(source, cageOf(probed.layers));
    await one.first;
    const pid = engineIdOf(one.spawned);
    expect(readFileSync(`/proc/${pid}/cmdline`, "utf8")).toContain(source);
    one.spawned.child.stdin.write("3");
    expect(await one.spawned.exited).toBe("exited with code 3");

    const other = await start(source, cageOf(probed.layers));
    await other.first;
    process.kill(engineIdOf(other.spawned), "SIGKILL");
    expect(await other.spawned.exited).toBe("was ended by SIGKILL");
  });

  it("starts whatever the umask of the GPU worker is", async () => {
    const folder = join(home, "empty");
    mkdirSync(folder);
    const mask = process.umask(0o077);
    try {
      const { first } = await start("console.log('up')", cageOf(probed.layers), folder);
      expect(await first).toBe("up");
    } finally {
      process.umask(mask);
    }
  });

  it("leaves no folder behind", async () => {
    const { spawned } = await start("process.exit(0)", cageOf(probed.layers));
    await spawned.exited;
    expect(existsSync(join(home, String(runs - 1)))).toBe(false);
  });

  it("reads the weights that links in the folder of its model lead to", async () => {
    const folder = join(home, "linked");
    mkdirSync(folder);
    symlinkSync(join(home, "weights/other-model"), join(folder, "unet"));
    const source = `console.log(require('fs').readFileSync(${JSON.stringify(join(folder, "unet"))}, 'utf8'))`;
    const { first } = await start(source, cageOf(probed.layers), folder);
    expect(await first).toBe("a secret");
  });

  it("reaches what it may read through folders that it cannot list, even with only its root", async () => {
    const folder = join(home, "below/model");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "weights"), "w");
    const source = `const { readdirSync } = require("fs");
      const list = (folder) => { try { return readdirSync(folder) } catch (error) { return error.code } };
      console.log(JSON.stringify(${JSON.stringify([folder, join(home, "below"), home])}.map(list)))`;
    for (const user of [true, false]) {
      const { first } = await start(source, cageOf({ namespaces: true, user, limits: true }), folder);
      expect(await first).toBe('[["weights"],"EACCES","EACCES"]');
    }
  });

  it("runs as the worker's user, with a warning, where only that user may read its model", async () => {
    const folder = join(home, "closed");
    mkdirSync(folder);
    writeFileSync(join(folder, "weights"), "w", { mode: 0o600 });
    const weights = JSON.stringify(join(folder, "weights"));
    const source = `require('fs').readFileSync(${weights}); console.log('read')`;
    const { lines, spawned } = await start(source, cageOf(probed.layers), folder);
    await spawned.exited;
    expect(lines).toEqual([
      expect.stringMatching(/^WARN .*closed\/weights is closed to other users/),
      "INFO read",
    ]);
    await expect(start(source, cageOf(probed.layers, "required"), folder)).rejects.toThrow(/chmod -R o\+rX/);
  });
});

describe("opening the cage", () => {
  const lacking = {
    layers: { ...NONE, seccomp: true },
    missing: [{ layer: "Landlock", reason: "ENOSYS", remedy: "use Linux 5.13 or newer" }],
  };

  it("is refused when isolation is required and a layer is missing, with the remedy", async () => {
    await expect(openCage("required", async () => lacking)).rejects.toThrow(
      "engines.isolation is required, and this host lacks Landlock (ENOSYS): use Linux 5.13 or newer. " +
        "Or set it to best-effort.",
    );
    const setting = "engines.programs.shout.isolation";
    await expect(openCage("required", async () => lacking, setting)).rejects.toThrow(
      `${setting} is required, and this host lacks Landlock`,
    );
  });

  it("uses what there is by default, and names what is missing in one line", async () => {
    const cage = await openCage("best-effort", async () => lacking);
    expect(describeIsolation(cage as Cage)).toBe(
      "engines are isolated by seccomp; missing: Landlock (ENOSYS)",
    );
  });

  it("tries nothing when isolation is off", async () => {
    expect(await openCage("off", () => Promise.reject(new Error("tried")))).toBeUndefined();
  });

  it("names the system where it is not Linux", async () => {
    const elsewhere = await probeLayers("darwin");
    expect(describeIsolation(elsewhere)).toMatch(/^engines are not isolated; missing: .*darwin/);
    const cage = new Cage("best-effort", elsewhere);
    const { first } = await start("console.log('up')", cage);
    expect(await first).toBe("up");
  });
});

/** Tries which layers of a cage this host has. */
import { spawn } from "node:child_process";
import { chmod, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { writeJson } from "../../../core/json/exact-json.ts";
import { type CageLayers, type CagePlan, systemPaths } from "./cage-plan.ts";
import { enterCommand } from "./enter-cage.ts";

export interface MissingLayer {
  /** The layer, in a reader's words. */
  layer: string;
  reason: string;
  remedy: string;
}

export interface ProbedLayers {
  layers: CageLayers;
  missing: readonly MissingLayer[];
}

/** The layers in a reader's words, with the remedy for a host that lacks one. */
const LAYERS: Record<keyof CageLayers, { name: string; remedy: string }> = {
  namespaces: {
    name: "namespaces",
    remedy:
      "install util-linux 2.33 or newer, and permit user namespaces (kernel.unprivileged_userns_clone, " +
      "kernel.apparmor_restrict_unprivileged_userns), or give the container CAP_SYS_ADMIN and a /proc " +
      "without masks",
  },
  user: { name: "a user of its own", remedy: "give the container CAP_SETUID, CAP_SETGID and CAP_CHOWN" },
  landlock: { name: "Landlock", remedy: "use Linux 5.13 or newer, with landlock in the list of lsm=" },
  seccomp: { name: "seccomp", remedy: "use a kernel with CONFIG_SECCOMP_FILTER, on x64 or arm64" },
  limits: { name: "limits and no privileges", remedy: "use Linux 3.5 or newer" },
};

/** Words in one line what isolates engines on this host, and what is missing with its reason. */
export function describeIsolation({ layers, missing }: ProbedLayers): string {
  const names = Object.entries(LAYERS).flatMap(([layer, { name }]) =>
    layers[layer as keyof CageLayers] ? [name] : [],
  );
  const by = names.length > 0 ? `engines are isolated by ${names.join(", ")}` : "engines are not isolated";
  const lacks = missing.map(({ layer, reason }) => `${layer} (${reason})`);
  return lacks.length > 0 ? `${by}; missing: ${lacks.join("; ")}` : by;
}

/** A file of this program that does nothing when it is run. */
const PROGRAM = fileURLToPath(new URL("./call-filter.cjs", import.meta.url));

/** The user id of the attempt; engines have others. */
const USER = 61_183;
const NONE = { namespaces: false, user: false, landlock: false, seccomp: false, limits: false };

/** Runs Node in each layer alone, and once in all that are there. */
export async function probeLayers(platform: string = process.platform): Promise<ProbedLayers> {
  if (platform !== "linux") return { layers: NONE, missing: [elsewhere(platform)] };
  const names = ["namespaces", "landlock", "seccomp", "limits"] as const;
  const faults = await Promise.all(names.map((name) => attempt({ ...NONE, [name]: true })));
  const layers: CageLayers = { ...NONE };
  const missing: MissingLayer[] = [];
  const note = (name: keyof CageLayers, fault: string | undefined): void => {
    layers[name] = fault === undefined;
    if (fault !== undefined)
      missing.push({ layer: LAYERS[name].name, reason: fault, remedy: LAYERS[name].remedy });
  };
  for (const [index, name] of names.entries()) note(name, faults[index]);
  // Only root can become another user. Anybody else is one already, without rights to the machine.
  if (process.getuid?.() === 0) note("user", await attempt({ ...layers, user: true }));
  return { layers, missing };
}

const elsewhere = (platform: string): MissingLayer => ({
  layer: "isolation of engines",
  reason: `${platform} has none that is supported`,
  remedy: "run GPU workers on Linux",
});

/** Resolves with the reason for which Node does not run in these layers; `undefined` when it does. */
async function attempt(layers: CageLayers): Promise<string | undefined> {
  const home = await mkdtemp(join(tmpdir(), "tempera-cage-"));
  try {
    const [inputs, root] = [join(home, "in"), join(home, "root")];
    for (const folder of [inputs, root]) await mkdir(folder);
    for (const folder of [home, inputs, root]) await chmod(folder, 0o755);
    const plan: CagePlan = {
      command: [process.execPath, PROGRAM],
      environment: {},
      readable: [...systemPaths(), PROGRAM],
      exchange: home,
      inputs,
      root,
      scratch: layers.namespaces ? "/tmp" : home,
      scratchBytes: 2 ** 20,
      devices: [],
      namespaces: layers.namespaces,
      landlock: layers.landlock,
      seccomp: layers.seccomp,
      ...(layers.user && { user: USER }),
      ...(layers.limits && { limits: { coreBytes: 0 } }),
    };
    return await run(layers, plan);
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

function run(layers: CageLayers, plan: CagePlan): Promise<string | undefined> {
  const [program, ...args] = enterCommand(layers).command;
  return new Promise((resolve) => {
    const env = { PATH: process.env.PATH ?? "", TEMPERA_CAGE: writeJson(plan) };
    const child = spawn(program, args, { env, stdio: ["ignore", "ignore", "pipe"] });
    let output = "";
    child.stderr.on("data", (data: Buffer) => {
      output += data;
    });
    child.on("error", (error) => resolve(error.message));
    child.on("close", (code, signal) => {
      const line = output.trim().split("\n").at(-1)?.replace("the engine cannot be isolated: ", "");
      resolve(code === 0 ? undefined : line || `it was ended by ${signal ?? `exit code ${code}`}`);
    });
  });
}

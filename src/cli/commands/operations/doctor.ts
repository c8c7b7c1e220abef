/**
 * Commands about an installation: its diagnosis (`doctor.ts`), configuration, TLS, retention, audit log and
 * signing keys. `config`, `tls` and `doctor` need no running platform.
 */
import { access, constants, mkdir, statfs } from "node:fs/promises";
import { connect } from "node:net";
import { resolve } from "node:path";
import type { EngineView } from "../../../api/admin/routes/engines/engines.ts";
import type { HealthView } from "../../../api/health/routes.ts";
import { openRegistry } from "../../../bin/open-registry.ts";
import { loadConfig } from "../../../config/load-config.ts";
import type { Config } from "../../../config/settings.ts";
import type { ConfiguredEngines } from "../../../core/engines/configured-engine.ts";
import { writeJson } from "../../../core/json/exact-json.ts";
import { isTestModel, TEST_MODELS_REMEDY } from "../../../core/models/test-models.ts";
import { SERVICE_NAMES } from "../../../core/operations/process-health.ts";
import { postgresBinaries } from "../../../dev/services/postgres-binaries.ts";
import { locateProgram } from "../../../dev/services/program.ts";
import { TEMPORAL_CLI } from "../../../dev/services/temporal.ts";
import {
  describeIsolation,
  type ProbedLayers,
  probeLayers,
} from "../../../gpu-workers/worker/cage/probe-layers.ts";
import { memoryBudget } from "../../../gpu-workers/worker/pool/device.ts";
import { programFault } from "../../../gpu-workers/worker/process/engine-programs.ts";

interface Finding {
  check: string;
  /** `missing` prevents a start of the platform; `note` does not. */
  state: "ok" | "note" | "missing";
  message: string;
  remedy?: string;
}

type Result = Omit<Finding, "check">;
/** Resolves with `undefined` when there is nothing to check, and with a list for several findings. */
type Check = (config: Config, target: Target) => Promise<Result | Result[] | undefined>;

/** Free space below which the embedded stores are likely to fail soon. */
const FREE_BYTES_MIN = 1024 ** 3;
const PROBE_MS = 2_000;

/** A platform that may be running. */
interface Target {
  url: string;
  /** Lists the engines of all GPU workers; rejects without a key of scope ADMIN. */
  engines: () => Promise<EngineView[]>;
}

/** The checks that need a valid configuration, in the order of the report. */
const CHECKS: Record<string, Check> = {
  models: checkModels,
  device: checkDevice,
  isolation: checkIsolation,
  "engine programs": async ({ engines }) => programFindings(engines.programs),
  "data folder": checkDataFolder,
  Temporal: checkTemporal,
  PostgreSQL: checkPostgres,
  "event log": async ({ redis }) =>
    redis.url
      ? reach(hostAndPort(redis.url, 6379), "REDIS_URL")
      : { state: "ok", message: "in memory (single process)" },
  "object store": async ({ objects }) =>
    objects.endpoint
      ? reach(hostAndPort(objects.endpoint, 443), "S3_ENDPOINT")
      : { state: "ok", message: "files in the data folder" },
  "files' origin": async ({ server }) => originFinding(server),
  platform: checkPlatform,
  services: checkServices,
  engines: checkEngines,
};

/**
 * Checks everything that the platform needs, and prints each finding with its remedy.
 *
 * @returns the exit status: 1 if something is missing
 */
export async function doctor({ json, ...target }: Target & { json: boolean }): Promise<number> {
  const findings: Finding[] = [];
  const check = async (name: string, work: () => ReturnType<Check>): Promise<void> => {
    const found = await work().catch(
      (error: Error): Result => ({ state: "missing", message: error.message }),
    );
    for (const result of [found ?? []].flat()) {
      findings.push({ check: name, ...result });
      if (!json) process.stdout.write(findingText(name, result));
    }
  };

  await check("Node.js", async () => ({ state: "ok", message: process.version }));
  let loaded: Config | undefined;
  await check("configuration", async () => {
    loaded = loadConfig();
    return { state: "ok", message: "valid" };
  });
  const config = loaded;
  if (config)
    for (const [name, work] of Object.entries(CHECKS)) await check(name, () => work(config, target));
  if (json) process.stdout.write(`${writeJson({ findings }, 2)}\n`);
  return findings.some(({ state }) => state === "missing") ? 1 : 0;
}

function findingText(name: string, { state, message, remedy }: Result): string {
  const mark = { ok: "ok     ", note: "note   ", missing: "MISSING" }[state];
  return `${mark}  ${name.padEnd(14)} ${message}\n${remedy ? `${" ".repeat(25)}→ ${remedy}\n` : ""}`;
}

async function checkModels(config: Config): Promise<Result> {
  const all = (await openRegistry({ ...config, registry: { ...config.registry, testModels: true } })).list();
  const isServed = ({ endpoint }: { endpoint: string }) =>
    config.registry.testModels || !isTestModel(endpoint);
  const nameOf = ({ endpoint, version }: { endpoint: string; version: string }) => `${endpoint} ${version}`;
  const models = all.filter(isServed).map(nameOf);
  const withheld = all.filter((model) => !isServed(model)).map(nameOf);
  if (models.length > 0)
    return {
      state: "ok",
      message: models.join(", "),
      ...(withheld.length > 0 && {
        remedy: `test models are served only when asked for (${withheld.join(", ")}): ${TEST_MODELS_REMEDY}`,
      }),
    };
  return {
    state: "note",
    message: "there is no model package",
    remedy: "docs/adding-a-model.md shows how to make one",
  };
}

async function checkDevice(config: Config): Promise<Result> {
  const { device, memoryMiB } = config.worker;
  const { budgetMiB, totalMiB } = await memoryBudget(device, memoryMiB);
  const total = totalMiB === undefined ? "" : ` of ${totalMiB} MiB`;
  const message = `${device}, ${budgetMiB} MiB for engines${total}`;
  const models = await openRegistry(config).then(
    (registry) => registry.list(),
    () => [],
  );
  const tooLarge = models.filter((model) => model.memoryMiB > budgetMiB);
  if (tooLarge.length === 0) return { state: "ok", message };
  const names = tooLarge.map((model) => `${model.endpoint} ${model.version} (${model.memoryMiB} MiB)`);
  return {
    state: "note",
    message: `${message}; too large for it: ${names.join(", ")}`,
    remedy: "serve them on a larger device, or raise TEMPERA_WORKER_MEMORY_MIB",
  };
}

async function checkIsolation({ engines }: Config): Promise<Result> {
  if (engines.isolation === "off")
    return {
      state: "note",
      message: "engines are not isolated: engines.isolation is off",
      remedy: "set TEMPERA_ENGINE_ISOLATION=best-effort, unless another program isolates the GPU worker",
    };
  return isolationFinding(await probeLayers(), engines.isolation === "required");
}

/** Names the engines of the configuration. One whose program is missing here may be on another machine. */
export function programFindings(configured: ConfiguredEngines = {}): Result[] {
  return Object.entries(configured).map(([name, engine]) => {
    const fault = programFault(name, engine);
    if (!fault) return { state: "ok", message: `${name}: ${[engine.command, ...engine.args].join(" ")}` };
    const [message = fault, remedy] = fault.split("; ");
    return { state: "note", message, ...(remedy && { remedy }) };
  });
}

/** Words which layers of isolation this host has; a missing one is an obstacle where it is required. */
export function isolationFinding(probed: ProbedLayers, isRequired: boolean): Result {
  const message = describeIsolation(probed);
  if (probed.missing.length === 0) return { state: "ok", message };
  const remedy = probed.missing.map((one) => `${one.layer}: ${one.remedy}`).join("; ");
  return { state: isRequired ? "missing" : "note", message, remedy };
}

async function checkDataFolder({ folders }: Config): Promise<Result> {
  const folder = resolve(folders.data);
  await mkdir(folder, { recursive: true });
  await access(folder, constants.W_OK);
  const { bavail, bsize } = await statfs(folder);
  const freeBytes = bavail * bsize;
  const message = `${folder}, ${(freeBytes / 1024 ** 3).toFixed(1)} GiB free`;
  return freeBytes < FREE_BYTES_MIN
    ? { state: "note", message, remedy: "free some space, or set TEMPERA_DATA to a folder with more" }
    : { state: "ok", message };
}

async function checkTemporal({ temporal }: Config): Promise<Result> {
  if (temporal.address) return reach(temporal.address, "TEMPORAL_ADDRESS");
  const { path, problem } = await locateProgram(TEMPORAL_CLI);
  if (path) return { state: "ok", message: `embedded, ${path}` };
  return {
    state: "note",
    message: `embedded, not installed yet (${problem})`,
    remedy: "the first start installs it; or set TEMPORAL_CLI, or TEMPORAL_ADDRESS to a running server",
  };
}

async function checkPostgres({ postgres }: Config): Promise<Result> {
  if (postgres.url) return reach(hostAndPort(postgres.url, 5432), "DATABASE_URL");
  await postgresBinaries(false);
  return { state: "ok", message: "embedded" };
}

/** Names the engines that take no requests because they failed too often. The platform must run. */
async function checkEngines(_: Config, { url, engines }: Target): Promise<Result | undefined> {
  const running = await fetch(`${url}/health/live`, { signal: AbortSignal.timeout(PROBE_MS) }).catch(
    () => undefined,
  );
  if (!running) return undefined;
  return engines().then(engineFinding, (error: Error) => ({
    state: "note",
    message: `not checked: ${error.message}`,
    remedy: "pass --key with a key of scope ADMIN",
  }));
}

/** Words the state of the engines on all GPU workers. */
export function engineFinding(engines: readonly EngineView[]): Result {
  const unhealthy = engines.filter(({ state }) => state === "unhealthy");
  if (unhealthy.length === 0)
    return {
      state: "ok",
      message: engines.length === 1 ? "1 model served" : `${engines.length} models served`,
    };
  const names = unhealthy.map(
    ({ endpoint_id, version, worker, last_failure }) =>
      `${endpoint_id} ${version} on ${worker}${last_failure ? ` (${last_failure})` : ""}`,
  );
  const [{ endpoint_id }] = unhealthy as [EngineView];
  return {
    state: "note",
    message: `unhealthy, takes no requests: ${names.join("; ")}`,
    remedy: `mend the cause, then \`npx tempera engines reset ${endpoint_id}\``,
  };
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/i;

/** Words whether files have a host name of their own, where others than this machine reach the gateway. */
export function originFinding({
  host,
  publicUrl,
  filesUrl,
}: Pick<Config["server"], "host" | "publicUrl" | "filesUrl">): Result | undefined {
  if (filesUrl) return { state: "ok", message: `files are at ${filesUrl}, apart from the API` };
  const isReached = !LOOPBACK.test(host) || (publicUrl && !LOOPBACK.test(new URL(publicUrl).hostname));
  if (!isReached) return undefined;
  return {
    state: "note",
    message: "others reach the gateway, and it serves their files on the origin of the API",
    remedy: "set TEMPERA_FILES_URL to a host name of its own that leads to the gateway (docs/files.md)",
  };
}

async function checkPlatform({ server }: Config, { url }: Target): Promise<Result> {
  const health = await fetchHealth(url);
  if (health) return platformFinding(url, health);
  if (await portIsFree(server.port))
    return { state: "note", message: `not running at ${url}`, remedy: "npm start" };
  return {
    state: "note",
    message: `another program uses port ${server.port}`,
    remedy: "stop it, or set TEMPERA_PORT",
  };
}

/** Gives the state of each service as the gateway sees it. The platform must run. */
async function checkServices(_: Config, { url }: Target): Promise<Result[]> {
  const health = await fetchHealth(url);
  return health ? serviceFindings(health) : [];
}

/** Reads the report of a gateway's health; `undefined` when no gateway answers at this address. */
async function fetchHealth(url: string): Promise<HealthView | undefined> {
  try {
    const answer = await fetch(`${url}/health`, { signal: AbortSignal.timeout(PROBE_MS) });
    const health = (await answer.json()) as Partial<HealthView>;
    return health.services && (health as HealthView);
  } catch {
    return undefined;
  }
}

/** Words whether the gateway takes calls. */
export function platformFinding(
  url: string,
  { status, reason, role, version, uptime_seconds }: HealthView,
): Result {
  const message = `${role} ${version} at ${url}, up for ${timeText(uptime_seconds)}`;
  if (status === "unready") return { state: "note", message: `${message}; takes no calls: ${reason}` };
  return { state: "ok", message };
}

/** Words the state of each service. */
export const serviceFindings = ({ services }: HealthView): Result[] =>
  services.map(({ service, state, since, for_seconds, detail }) => {
    const name = SERVICE_NAMES[service as keyof typeof SERVICE_NAMES];
    const message = `${name}: ${state} for ${timeText(for_seconds)}, since ${since}`;
    return { state: state === "up" ? "ok" : "note", message: detail ? `${message} (${detail})` : message };
  });

/** Words a time in its two largest units: "3 h 5 min". */
function timeText(seconds: number): string {
  const units = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ] as const;
  const first = units.findIndex(([count]) => count > 0);
  if (first < 0) return "0 s";
  const shown = units.slice(first, first + 2).filter(([count]) => count > 0);
  return shown.map(([count, unit]) => `${count} ${unit}`).join(" ");
}

const hostAndPort = (address: string, fallback: number): string => {
  const { hostname, port, protocol } = new URL(address);
  return `${hostname}:${port || (protocol === "http:" ? 80 : fallback)}`;
};

/** Resolves with true if something accepts TCP connections at `host:port`. */
const isListening = (address: string): Promise<boolean> =>
  new Promise((done) => {
    const [, host = "localhost", port = "0"] = /^(.*):(\d+)$/.exec(address) ?? [];
    const socket = connect({ host, port: Number(port), timeout: PROBE_MS });
    const end = (listening: boolean) => () => {
      socket.destroy();
      done(listening);
    };
    socket.once("connect", end(true)).once("error", end(false)).once("timeout", end(false));
  });

async function reach(address: string, setting: string): Promise<Result> {
  if (await isListening(address)) return { state: "ok", message: `answers at ${address}` };
  return {
    state: "missing",
    message: `nothing answers at ${address}`,
    remedy: `start it, or correct ${setting}`,
  };
}

const portIsFree = async (port: number): Promise<boolean> => !(await isListening(`127.0.0.1:${port}`));

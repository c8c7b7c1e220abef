import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { NativeConnection } from "@temporalio/worker";
import type { GpuActivities, SessionActivities } from "../activities/index.ts";
import { ByteBudget } from "../activities/inference/byte-budget.ts";
import { createFileUrlResolver } from "../activities/inference/file-url-resolver.ts";
import { createHoldSession } from "../activities/inference/hold-session.ts";
import { createInfer } from "../activities/inference/infer.ts";
import { createFetchInput } from "../activities/inference/input-files.ts";
import { openInputFolder } from "../activities/inference/input-folder.ts";
import { LoraCache } from "../activities/inference/loras/lora-cache.ts";
import { createRecordOutcome } from "../activities/inference/record-outcome.ts";
import { createRunningRequests } from "../activities/inference/running-requests.ts";
import { createCheckNode } from "../activities/pipelines/check-node.ts";
import { createNodeCache } from "../activities/pipelines/node-cache.ts";
import { createGuardedFetch } from "../adapters/http/guarded-fetch.ts";
import { unlessAway } from "../adapters/temporal/away.ts";
import { createBacklog } from "../adapters/temporal/backlog.ts";
import { createVersionInUse } from "../adapters/temporal/version-in-use.ts";
import { startGpuWorker } from "../adapters/temporal/worker/workers.ts";
import { parseEngineEnvironment } from "../core/engines/engine-environment.ts";
import type { EngineStatus } from "../core/engines/engine-status.ts";
import { isTemperaError } from "../core/errors/tempera-error.ts";
import { createNameArtifact } from "../core/files/artifact.ts";
import { LIMITS } from "../core/limits.ts";
import { type ModelVersion, taskQueueOf } from "../core/models/model.ts";
import { TEST_MODELS_REMEDY } from "../core/models/test-models.ts";
import { systemClock } from "../core/operations/clock.ts";
import { type CloseStack, closeOnFailure } from "../core/operations/close-stack.ts";
import type { Log } from "../core/operations/log.ts";
import { type Cage, openCage } from "../gpu-workers/worker/cage/cage.ts";
import { describeIsolation } from "../gpu-workers/worker/cage/probe-layers.ts";
import { EngineReports } from "../gpu-workers/worker/models/engine-reports.ts";
import { ServedModels } from "../gpu-workers/worker/models/served-models.ts";
import { openWeightsCache } from "../gpu-workers/worker/models/weights-cache.ts";
import { CrashLedger } from "../gpu-workers/worker/pool/crash-ledger.ts";
import { memoryBudget } from "../gpu-workers/worker/pool/device.ts";
import {
  EnginePool,
  type EnginePoolOptions,
  type PoolStatus,
} from "../gpu-workers/worker/pool/engine-pool.ts";
import { allPrograms, programFault, withEnvironment } from "../gpu-workers/worker/process/engine-programs.ts";
import { PollScheduler } from "../gpu-workers/worker/scheduling/poll-scheduler.ts";
import { createWorkerLog } from "../gpu-workers/worker/worker-log.ts";
import { outputUrls } from "./file-signing.ts";
import type { Parts } from "./parts.ts";
import { isMain, type Role, runRole } from "./role.ts";

type FindModel = (endpoint: string, version: string) => ModelVersion | undefined;

/**
 * Starts the role that polls the task queues of its device's models and owns the pool of their engines. It
 * loads its pinned models at once, and polls when Temporal was reached.
 */
export function startGpuWorkerRole(parts: Parts): Promise<Role> {
  return closeOnFailure((closing) => start(parts, closing));
}

async function start(parts: Parts, closing: CloseStack): Promise<Role> {
  const { config, registry, log } = parts;
  const isMine = chosenModels(parts);
  const inFolder = registry.inFolder().filter(isMine);
  const { device } = config.worker;
  const { budgetMiB } = await memoryBudget(device, config.worker.memoryMiB);
  const workerLog = createWorkerLog(log);

  // A worker that was drained and started again takes no requests until the drain is lifted.
  const drained = await parts.engines.drained(parts.identity);
  const health = parts.processHealth.role("gpu-worker");
  health.noteDrained(drained.all);
  let served: ServedModels | undefined;
  /** Finds a model of this worker, also one that is no longer enabled and still has work. */
  const findModel: FindModel = (endpoint, version) =>
    served?.find(endpoint, version) ??
    inFolder.find((model) => model.endpoint === endpoint && model.version === version);
  const pool = await openPool(parts, { findModel, device, budgetMiB, log: workerLog }, closing);
  const { models, refused } = admitAll(inFolder, pool, log);
  const activities = await createGpuActivities(parts, { pool, findModel }, closing);
  await warmPinned(models, pool, budgetMiB, log);
  const connection = await parts.connected;
  const scheduler = await PollScheduler.start({
    models: inFolder,
    pool,
    budgetMiB,
    startPolling: (model, onIdle) => startPolling({ ...parts, connection }, model, activities, onIdle),
    backlog: createBacklog(parts.client),
    drained,
    log: workerLog,
  });
  closing.defer(() => scheduler.stop());
  /** Reports of published versions that are not in the pool, by task queue. */
  const absent = new Map<string, EngineStatus>();
  const reports = await EngineReports.start({
    store: parts.engines,
    worker: { worker: parts.identity, device, budgetMiB },
    list: () => [
      ...pool.list().map((status) => statusOf(status, scheduler.isPolled(status))),
      ...refused,
      ...absent.values(),
    ],
    reset: (model) => pool.reset(model),
    drain: (orders) => {
      health.noteDrained(orders.all);
      scheduler.drain(orders);
    },
    refuse: (taskQueues) => scheduler.refuse(taskQueues),
    unservedMaxMs: config.worker.unservedWaitSeconds * 1000,
    log: workerLog,
  });
  closing.defer(() => reports[Symbol.asyncDispose]());
  const serving = await servePublished(parts, { isMine, pool, scheduler, budgetMiB, absent, reports });
  served = serving;
  closing.defer(registry.onChange(() => serving.refresh()));
  for (const each of [pool, scheduler]) each.onChange(() => reports.changed());
  parts.processHealth.role("gpu-worker").enter("serving");
  log.info(
    { models: models.map(({ endpoint, version }) => `${endpoint}@${version}`), device, budgetMiB },
    "serving",
  );
  return {
    ended: scheduler.ended,
    stop: async () => {
      await serving[Symbol.asyncDispose]();
      await scheduler.stop();
      await closing[Symbol.asyncDispose]();
    },
  };
}

/**
 * Creates the test of whether this worker serves a model; it serves all if none are configured. Throws when
 * the configuration names an endpoint that no package serves.
 */
function chosenModels({ config, registry }: Parts): (model: { endpoint: string }) => boolean {
  const wanted = config.worker.models?.split(",").map((endpoint) => endpoint.trim());
  const isWithheld = (endpoint: string): boolean => registry.isWithheld?.(endpoint) === true;
  if (!wanted) return ({ endpoint }) => !isWithheld(endpoint);
  const withheld = wanted.filter(isWithheld);
  if (withheld.length > 0) {
    throw new Error(
      `TEMPERA_WORKER_MODELS names ${withheld.join(", ")}, a test model, and those are not served; ` +
        `serve them (${TEST_MODELS_REMEDY}), or take it out.`,
    );
  }
  const known = new Set([...registry.inFolder(), ...registry.published()].map(({ endpoint }) => endpoint));
  const unknown = wanted.filter((endpoint) => !known.has(endpoint));
  if (unknown.length > 0) {
    throw new Error(
      `TEMPERA_WORKER_MODELS names ${unknown.join(", ")}, which no model package serves; ` +
        "see `tempera models list`.",
    );
  }
  return ({ endpoint }) => wanted.includes(endpoint);
}

async function openPool(
  { config, identity, crashes: store, log }: Parts,
  options: Pick<EnginePoolOptions, "findModel" | "device" | "budgetMiB" | "log">,
  closing: CloseStack,
): Promise<EnginePool> {
  const { cage, cages } = await openCages(config, log);
  for (const [name, engine] of Object.entries(config.engines.programs ?? {})) {
    const fault = programFault(name, engine);
    if (fault) log.error({ engine: name }, fault);
  }
  const sockets = await mkdtemp(join(tmpdir(), "tempera-"));
  closing.defer(() => rm(sockets, { recursive: true, force: true }));
  // Engines with a user of their own pass through it to their own folders, which are closed to one another.
  await chmod(sockets, 0o711);
  const crashes = await CrashLedger.start({
    store,
    ofOwnerMax: config.worker.crashesOfOwner,
    warn: (message) => log.warn({}, message),
  });
  closing.defer(() => crashes[Symbol.asyncDispose]());
  const named = config.engines.environment;
  const environment = named === undefined ? [] : parseEngineEnvironment(named);
  const pool = new EnginePool({
    ...options,
    crashes,
    trialDelayMs: config.worker.trialSeconds * 1000,
    cage,
    cages,
    programs: withEnvironment(allPrograms(config.engines.programs), environment),
    folder: sockets,
    workerName: identity,
  });
  closing.defer(() => pool[Symbol.asyncDispose]());
  return pool;
}

/** Opens the cage of all engines, and those of the engines that are isolated in another way. */
async function openCages(
  { engines }: Parts["config"],
  log: Log,
): Promise<Pick<EnginePoolOptions, "cage"> & { cages: Map<string, Cage | undefined> }> {
  const cage = await openCage(engines.isolation);
  logIsolation(cage, log);
  const cages = new Map<string, Cage | undefined>();
  for (const [name, { isolation = engines.isolation }] of Object.entries(engines.programs ?? {})) {
    if (isolation === engines.isolation) continue;
    const setting = `engines.programs.${name}.isolation`;
    cages.set(name, await openCage(isolation, undefined, setting));
    const line = `${setting} is ${isolation}; that of all engines is ${engines.isolation}`;
    if (isolation === "off") log.warn({ engine: name }, line);
    else log.info({ engine: name }, line);
  }
  return { cage, cages };
}

/** Logs in one line what isolates the engines, and what this host does not permit. */
function logIsolation(cage: Cage | undefined, log: Log): void {
  if (!cage) {
    log.warn({}, "engines are not isolated: engines.isolation is off");
    return;
  }
  const line = describeIsolation(cage);
  if (cage.missing.length > 0) log.warn({}, line);
  else log.info({}, line);
}

/** Creates the activities of the GPU task queues. */
async function createGpuActivities(
  parts: Parts,
  { pool, findModel }: { pool: EnginePool; findModel: FindModel },
  closing: CloseStack,
): Promise<GpuActivities & SessionActivities> {
  const running = await createRunningRequests(parts.events);
  closing.defer(() => running[Symbol.asyncDispose]());
  const inputs = await openInputFolder(tmpdir());
  closing.defer(() => inputs[Symbol.asyncDispose]());
  const resolveFileUrl = createFileUrlResolver({ files: parts.files, clock: systemClock });
  const nodeCache = await createNodeCache({
    results: parts.nodeResults,
    objects: parts.objects,
    resolveFileUrl,
    findModel: parts.registry.find,
    clock: systemClock,
    keepMs: parts.config.pipelines.cacheSeconds * 1000,
    warn: (message) => parts.log.warn({}, message),
  });
  closing.defer(() => nodeCache[Symbol.asyncDispose]());
  const fetchInput = createFetchInput({
    http: createGuardedFetch({
      allowed: parts.allowedPrivate,
      trusted: outputUrls(parts).map((url) => `${url}/files/`),
    }),
    objects: parts.objects,
    folder: inputs.path,
    loras: {
      cache: new LoraCache({
        folder: join(inputs.path, "loras"),
        bytesMax: parts.config.worker.loraCacheMiB * 2 ** 20,
      }),
      hubUrl: parts.config.worker.hubUrl.replace(/\/+$/, ""),
    },
    resolveFileUrl,
  });
  return {
    infer: createInfer({
      ...parts,
      engines: pool,
      clock: systemClock,
      running,
      checkNode: createCheckNode(findModel, parts.config.inputs.coercion),
      fetchInput,
      nodeCache,
      output: {
        keptBytes: new ByteBudget(LIMITS.artifactsKeptBytesMax),
        outputBytesMax: parts.config.worker.outputMiB * 2 ** 20,
      },
      recordOutcome: createRecordOutcome({ ...parts, clock: systemClock }),
      nameArtifact: createNameArtifact(await parts.secrets.secret("artifacts")),
      storeWait: {
        resultMs: parts.config.worker.resultWaitSeconds * 1000,
        jobMs: parts.config.worker.storeWaitSeconds * 1000,
      },
    }),
    holdSession: createHoldSession({ engines: pool, frames: parts.frames, fetchInput }),
  };
}

const startPolling = (
  { config, connection, identity, dataConverter }: Parts & { connection: NativeConnection },
  model: ModelVersion,
  activities: GpuActivities & SessionActivities,
  onIdle: () => void,
) =>
  unlessAway(
    startGpuWorker({ connection, namespace: config.temporal.namespace, identity, dataConverter }, model, {
      activities: { ...activities },
      graceMs: config.worker.graceSeconds * 1000,
      // Models that are pushed later may need this one's memory.
      drainable: true,
      onIdle,
    }),
  );

interface PublishedOptions {
  isMine: (model: { endpoint: string }) => boolean;
  pool: EnginePool;
  scheduler: PollScheduler;
  budgetMiB: number;
  absent: Map<string, EngineStatus>;
  reports: EngineReports;
}

/** Serves published versions as they come and go. */
async function servePublished(
  { config, registry, objects, client, log }: Parts,
  { isMine, pool, scheduler, budgetMiB, absent, reports }: PublishedOptions,
): Promise<ServedModels> {
  const weights = await openWeightsCache({
    folder: resolve(config.folders.weights ?? join(config.folders.data, "weights")),
    objects,
  });
  return ServedModels.start({
    wanted: () => registry.published().filter(isMine),
    weights,
    begin: (model) => {
      pool.admit(model);
      scheduler.add(model);
      const together = pool.list().reduce((sum, { needMiB }) => sum + needMiB, 0);
      if (model.pinned && together <= budgetMiB) void warm(model, pool, log);
    },
    end: async (model) => {
      await scheduler.remove(model);
      await pool.drop(model);
    },
    inUse: createVersionInUse(client),
    report: ({ endpoint, version }, absence) => {
      const key = taskQueueOf({ endpoint, version });
      if (absence) absent.set(key, statusOfAbsent({ endpoint, version }, absence.state, absence.reason));
      else absent.delete(key);
      reports.changed();
    },
    log: createWorkerLog(log),
  });
}

/**
 * Admits each model to the pool. A model that is larger than the whole budget is logged and not served; the
 * others are. Throws when there is no model that fits.
 */
function admitAll(
  all: readonly ModelVersion[],
  pool: EnginePool,
  log: Log,
): { models: ModelVersion[]; refused: EngineStatus[] } {
  const refused: EngineStatus[] = [];
  const models = all.filter((model) => {
    try {
      pool.admit(model);
      return true;
    } catch (error) {
      if (!isTemperaError(error)) throw error;
      const { endpoint, version } = model;
      log.error({ endpoint, version }, error.message);
      refused.push(statusOfAbsent(model, "unhealthy", error.message));
      return false;
    }
  });
  if (models.length === 0 && refused[0]?.lastFailure) throw new Error(refused[0].lastFailure);
  return { models, refused };
}

/**
 * Loads the pinned models before any queue is polled, as far as they fit together. One that cannot be loaded
 * is polled all the same, so that its requests name the reason.
 */
async function warmPinned(
  models: readonly ModelVersion[],
  pool: EnginePool,
  budgetMiB: number,
  log: Log,
): Promise<void> {
  let freeMiB = budgetMiB;
  const fitting = models.filter(({ endpoint, version, pinned, memoryMiB }) => {
    if (!pinned) return false;
    if (memoryMiB > freeMiB) {
      log.warn(
        { endpoint, version, memoryMiB, freeMiB },
        "a pinned model does not fit beside the other pinned models; it is loaded on demand",
      );
      return false;
    }
    freeMiB -= memoryMiB;
    return true;
  });
  await Promise.all(fitting.map((model) => warm(model, pool, log)));
}

/** Loads a model. A failure is logged: its requests will name the reason. */
async function warm(model: ModelVersion, pool: EnginePool, log: Log): Promise<void> {
  try {
    await pool.warm(model);
  } catch (error) {
    const { endpoint, version } = model;
    log.error({ endpoint, version, err: error }, "a pinned model did not load");
  }
}

const statusOfAbsent = (
  { endpoint, version }: Pick<ModelVersion, "endpoint" | "version">,
  state: "loading" | "unhealthy",
  lastFailure: string,
): EngineStatus => ({
  endpoint,
  version,
  state,
  polled: false,
  running: 0,
  waiting: 0,
  failures: 0,
  lastFailure,
});

const statusOf = (
  { needMiB: _, pinned: __, lastUsedMs: ___, isOnTrial: ____, ...status }: PoolStatus,
  polled: boolean,
): EngineStatus => ({
  ...status,
  polled,
});

if (isMain(import.meta.url)) await runRole({ name: "gpu-worker", start: startGpuWorkerRole });

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createCheckNode } from "../activities/pipelines/check-node.ts";
import { createHoldSession } from "../activities/inference/hold-session.ts";
import { createInfer } from "../activities/inference/infer.ts";
import { createFetchInput } from "../activities/inference/input-files.ts";
import { openInputFolder } from "../activities/inference/input-folder.ts";
import { createNodeCache } from "../activities/pipelines/node-cache.ts";
import { createOwnKey } from "../activities/inference/file-url-resolver.ts";
import { createRecordOutcome } from "../activities/inference/record-outcome.ts";
import { createRunningRequests } from "../activities/inference/running-requests.ts";
import { createGuardedFetch } from "../adapters/http/guarded-fetch.ts";
import { createBacklog } from "../adapters/temporal/backlog.ts";
import { createVersionInUse } from "../adapters/temporal/version-in-use.ts";
import { startGpuWorker } from "../adapters/temporal/worker/workers.ts";
import { createClosing } from "../core/operations/closing.ts";
import type { EngineStatus } from "../core/engines/engine-status.ts";
import { isTemperaError } from "../core/errors/tempera-error.ts";
import { type ModelVersion, taskQueueOf } from "../core/models/model.ts";
import { systemClock } from "../core/operations/clock.ts";
import type { Log } from "../core/operations/log.ts";
import { memoryBudget } from "../gpu-workers/worker/pool/device.ts";
import {
  createEnginePool,
  type EnginePool,
  type PoolStatus,
} from "../gpu-workers/worker/pool/engine-pool.ts";
import { ENGINE_PROGRAMS } from "../gpu-workers/worker/pool/engine-programs.ts";
import { startEngineReports } from "../gpu-workers/worker/models/engine-reports.ts";
import { startQueueTurns } from "../gpu-workers/worker/scheduling/poll-scheduler.ts";
import { type ServedModels, startServedModels } from "../gpu-workers/worker/models/served-models.ts";
import { openWeightsCache } from "../gpu-workers/worker/models/weights-cache.ts";
import type { Parts } from "./parts.ts";
import { isMain, type Role, runRole } from "./role.ts";

const LOG_METHOD = { DEBUG: "debug", INFO: "info", WARN: "warn", ERROR: "error" } as const;

/** Polls the task queues of the models of its device and owns the pool of their engines. */
export async function startGpuWorkerRole(parts: Parts): Promise<Role> {
  const { config, registry, log } = parts;
  const wanted = config.worker.models?.split(",").map((endpoint) => endpoint.trim());
  const known = new Set([...registry.inFolder(), ...registry.published()].map(({ endpoint }) => endpoint));
  const unknown = wanted?.filter((endpoint) => !known.has(endpoint)) ?? [];
  if (unknown.length > 0)
    throw new Error(
      `TEMPERA_WORKER_MODELS names ${unknown.join(", ")}, which no model package serves; see \`tempera models list\`.`,
    );
  const isMine = ({ endpoint }: { endpoint: string }): boolean => !wanted || wanted.includes(endpoint);
  const all = registry.inFolder().filter(isMine);
  const { device } = config.worker;
  const { budgetMiB } = await memoryBudget(device, config.worker.memoryMiB);

  const closing = createClosing();
  const sockets = await mkdtemp(join(tmpdir(), "tempera-"));
  closing.defer(() => rm(sockets, { recursive: true, force: true }));
  let served: ServedModels | undefined;
  /** Of this worker, those included that are no longer enabled and still have work. */
  const findModel = (endpoint: string, version: string): ModelVersion | undefined =>
    served?.find(endpoint, version) ??
    all.find((model) => model.endpoint === endpoint && model.version === version);
  const pool = createEnginePool({
    findModel,
    programs: ENGINE_PROGRAMS,
    folder: sockets,
    workerName: parts.identity,
    device,
    budgetMiB,
    log: (level, message, about) => log[LOG_METHOD[level]](about, message),
  });
  closing.defer(() => pool[Symbol.asyncDispose]());
  const { models, refused } = admitAll(all, pool, log);
  const running = await createRunningRequests(parts.events);
  closing.defer(() => running[Symbol.asyncDispose]());

  const inputs = await openInputFolder(tmpdir());
  closing.defer(() => inputs[Symbol.asyncDispose]());

  const ownKey = createOwnKey({ files: parts.files, clock: systemClock });
  const nodeCache = await createNodeCache({
    results: parts.nodeResults,
    objects: parts.objects,
    ownKey,
    findModel: registry.find,
    clock: systemClock,
    keepMs: config.pipelines.cacheSeconds * 1000,
    warn: (message) => log.warn({}, message),
  });
  closing.defer(() => nodeCache[Symbol.asyncDispose]());

  const infer = createInfer({
    engines: pool,
    events: parts.events,
    requests: parts.requests,
    objects: parts.objects,
    files: parts.files,
    clock: systemClock,
    running,
    checkNode: createCheckNode(findModel),
    fetchInput: createFetchInput({
      http: createGuardedFetch({ allowed: parts.allowedPrivate, trusted: [`${parts.publicUrl}/files/`] }),
      objects: parts.objects,
      folder: inputs.path,
      ownKey,
    }),
    nodeCache,
    recordOutcome: createRecordOutcome({ ...parts, clock: systemClock }),
    publicUrl: parts.publicUrl,
  });
  const holdSession = createHoldSession({ engines: pool, frames: parts.frames });
  const { connection } = parts;
  await warmPinned(models, pool, budgetMiB, log);
  const turns = await startQueueTurns({
    models,
    pool,
    budgetMiB,
    startPolling: (model, onIdle) =>
      startGpuWorker(
        {
          connection,
          namespace: config.temporal.namespace,
          identity: parts.identity,
          dataConverter: parts.dataConverter,
        },
        model,
        {
          activities: { infer, holdSession },
          graceMs: config.worker.graceSeconds * 1000,
          // Models that are pushed later may need this one's memory.
          drainable: true,
          onIdle,
        },
      ),
    backlog: createBacklog(parts.client),
    // A worker that was drained and started again does not take requests until it is told to.
    drained: await parts.engines.drained(parts.identity),
    log: (level, message, about) => log[LOG_METHOD[level]](about, message),
  });
  /** Published versions that are not in the pool, and why. */
  const absent = new Map<string, EngineStatus>();
  const reports = await startEngineReports({
    board: parts.engines,
    worker: { worker: parts.identity, device, budgetMiB },
    list: () => [
      ...pool.list().map((status) => statusOf(status, turns.polled(status))),
      ...refused,
      ...absent.values(),
    ],
    reset: pool.reset,
    drain: turns.drain,
    log: (level, message) => log[LOG_METHOD[level]]({}, message),
  });
  closing.defer(() => reports[Symbol.asyncDispose]());
  const weights = await openWeightsCache({
    folder: resolve(config.folders.weights ?? join(config.folders.data, "weights")),
    objects: parts.objects,
  });
  const inUse = createVersionInUse(parts.client);
  served = startServedModels({
    wanted: () => registry.published().filter(isMine),
    weights,
    begin: (model) => {
      pool.admit(model);
      turns.add(model);
      const together = pool.list().reduce((sum, { needMiB }) => sum + needMiB, 0);
      if (model.pinned && together <= budgetMiB)
        void pool
          .warm(model)
          .catch((error) =>
            log.error(
              { endpoint: model.endpoint, version: model.version, err: error },
              "a pinned model did not load",
            ),
          );
    },
    end: async (model) => {
      await turns.remove(model);
      await pool.drop(model);
    },
    inUse,
    report: ({ endpoint, version }, how) => {
      const place = taskQueueOf({ endpoint, version });
      if (how)
        absent.set(place, {
          endpoint,
          version,
          state: how.state,
          polled: false,
          running: 0,
          waiting: 0,
          failures: 0,
          lastFailure: how.says,
        });
      else absent.delete(place);
      reports.changed();
    },
    log: (level, message, about) => log[LOG_METHOD[level]](about, message),
  });
  const serving = served;
  closing.defer(registry.onChange(serving.changed));
  pool.onChange(reports.changed);
  turns.onChange(reports.changed);
  log.info(
    { models: models.map(({ endpoint, version }) => `${endpoint}@${version}`), device, budgetMiB },
    "serving",
  );
  return {
    ended: turns.ended,
    stop: async () => {
      await serving[Symbol.asyncDispose]();
      await turns.stop();
      await closing[Symbol.asyncDispose]();
    },
  };
}

/**
 * Gives each model its place in the pool. One that is larger than the whole budget is told and not served;
 * the others are.
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
      refused.push({
        endpoint,
        version,
        state: "out",
        polled: false,
        running: 0,
        waiting: 0,
        failures: 0,
        lastFailure: error.message,
      });
      return false;
    }
  });
  if (models.length === 0 && refused[0]?.lastFailure) throw new Error(refused[0].lastFailure);
  return { models, refused };
}

/**
 * Loads the pinned models before any queue is polled, as far as they fit together. One that cannot be loaded
 * is polled all the same, so that its requests say why.
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
        "pinned, and no room beside the other pinned models: loaded when it is asked for",
      );
      return false;
    }
    freeMiB -= memoryMiB;
    return true;
  });
  await Promise.all(
    fitting.map((model) =>
      pool
        .warm(model)
        .catch((error) =>
          log.error(
            { endpoint: model.endpoint, version: model.version, err: error },
            "a pinned model did not load",
          ),
        ),
    ),
  );
}

const statusOf = (
  { needMiB: _, pinned: __, lastUsedMs: ___, ...status }: PoolStatus,
  polled: boolean,
): EngineStatus => ({
  ...status,
  polled,
});

if (isMain(import.meta.url)) await runRole("gpu-worker", startGpuWorkerRole);

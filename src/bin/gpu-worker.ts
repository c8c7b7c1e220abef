import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createCheckNode } from "../activities/check-node.ts";
import { createHoldSession } from "../activities/hold-session.ts";
import { createInfer } from "../activities/infer.ts";
import { createFetchInput } from "../activities/input-files.ts";
import { openInputFolder } from "../activities/input-folder.ts";
import { createOwnKey } from "../activities/own-file.ts";
import { createRecordOutcome } from "../activities/record-outcome.ts";
import { createRunningRequests } from "../activities/running-requests.ts";
import { createGuardedFetch } from "../adapters/http/guarded-fetch.ts";
import { createBacklog } from "../adapters/temporal/backlog.ts";
import { startGpuWorker } from "../adapters/temporal/workers.ts";
import { createClosing } from "../core/closing.ts";
import type { EngineStatus } from "../core/engine-status.ts";
import { isTemperaError } from "../core/errors/tempera-error.ts";
import type { ModelVersion } from "../core/model.ts";
import { systemClock } from "../core/ports/clock.ts";
import type { Log } from "../core/ports/log.ts";
import { memoryBudget } from "../gpu-workers/device.ts";
import { createEnginePool, type EnginePool, type PoolStatus } from "../gpu-workers/engine-pool.ts";
import { ENGINE_PROGRAMS } from "../gpu-workers/engine-programs.ts";
import { startEngineReports } from "../gpu-workers/engine-reports.ts";
import { startQueueTurns } from "../gpu-workers/queue-turns.ts";
import type { Parts } from "./parts.ts";
import { isMain, type Role, runRole } from "./role.ts";

const LOG_METHOD = { DEBUG: "debug", INFO: "info", WARN: "warn", ERROR: "error" } as const;

/** Polls the task queues of the models of its device and owns the pool of their engines. */
export async function startGpuWorkerRole(parts: Parts): Promise<Role> {
  const { config, registry, log } = parts;
  const wanted = config.worker.models?.split(",").map((endpoint) => endpoint.trim());
  const unknown = wanted?.filter((endpoint) => !registry.route(endpoint)?.model) ?? [];
  if (unknown.length > 0)
    throw new Error(`TEMPERA_WORKER_MODELS names ${unknown.join(", ")}, which no model package serves; see \`tempera models list\`.`);
  const all = registry.list().filter(({ endpoint }) => !wanted || wanted.includes(endpoint));
  const { device } = config.worker;
  const { budgetMiB } = await memoryBudget(device, config.worker.memoryMiB);

  const closing = createClosing();
  const sockets = await mkdtemp(join(tmpdir(), "tempera-"));
  closing.defer(() => rm(sockets, { recursive: true, force: true }));
  const pool = createEnginePool({
    findModel: registry.find,
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

  const infer = createInfer({
    engines: pool,
    events: parts.events,
    requests: parts.requests,
    objects: parts.objects,
    files: parts.files,
    clock: systemClock,
    running,
    checkNode: createCheckNode(registry.find),
    fetchInput: createFetchInput({
      http: createGuardedFetch({ allowed: parts.allowedPrivate, trusted: [`${parts.publicUrl}/files/`] }),
      objects: parts.objects,
      folder: inputs.path,
      ownKey: createOwnKey({ files: parts.files, clock: systemClock }),
    }),
    recordOutcome: createRecordOutcome({ ...parts, clock: systemClock }),
    publicUrl: parts.publicUrl,
  });
  const holdSession = createHoldSession({ engines: pool, frames: parts.frames });
  const { connection } = parts;
  await warmPinned(models, pool, budgetMiB, log);
  const together = models.reduce((sum, { memoryMiB }) => sum + memoryMiB, 0);
  const turns = await startQueueTurns({
    models,
    pool,
    budgetMiB,
    startPolling: (model, onIdle) =>
      startGpuWorker(
        { connection, namespace: config.temporal.namespace, identity: parts.identity, dataConverter: parts.dataConverter },
        model,
        {
          activities: { infer, holdSession },
          graceMs: config.worker.graceSeconds * 1000,
          drainable: together > budgetMiB,
          onIdle,
        },
      ),
    backlog: createBacklog(parts.client),
    log: (level, message, about) => log[LOG_METHOD[level]](about, message),
  });
  const reports = await startEngineReports({
    board: parts.engines,
    worker: { worker: parts.identity, device, budgetMiB },
    list: () => [...pool.list().map((status) => statusOf(status, turns.polled(status))), ...refused],
    reset: pool.reset,
    log: (level, message) => log[LOG_METHOD[level]]({}, message),
  });
  closing.defer(() => reports[Symbol.asyncDispose]());
  pool.onChange(reports.changed);
  turns.onChange(reports.changed);
  log.info({ models: models.map(({ endpoint, version }) => `${endpoint}@${version}`), device, budgetMiB }, "serving");
  return {
    ended: turns.ended,
    stop: async () => {
      await turns.stop();
      await closing[Symbol.asyncDispose]();
    },
  };
}

/** Gives each model its place in the pool. One that is larger than the whole budget is told and not served; the others are. */
function admitAll(all: readonly ModelVersion[], pool: EnginePool, log: Log): { models: ModelVersion[]; refused: EngineStatus[] } {
  const refused: EngineStatus[] = [];
  const models = all.filter((model) => {
    try {
      pool.admit(model);
      return true;
    } catch (error) {
      if (!isTemperaError(error)) throw error;
      const { endpoint, version } = model;
      log.error({ endpoint, version }, error.message);
      refused.push({ endpoint, version, state: "out", polled: false, running: 0, waiting: 0, failures: 0, lastFailure: error.message });
      return false;
    }
  });
  if (models.length === 0 && refused[0]?.lastFailure) throw new Error(refused[0].lastFailure);
  return { models, refused };
}

/**
 * Loads the pinned models before any queue is polled, as far as they fit together. One that cannot be loaded is polled all the same, so
 * that its requests say why.
 */
async function warmPinned(models: readonly ModelVersion[], pool: EnginePool, budgetMiB: number, log: Log): Promise<void> {
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
        .catch((error) => log.error({ endpoint: model.endpoint, version: model.version, err: error }, "a pinned model did not load")),
    ),
  );
}

const statusOf = ({ needMiB: _, pinned: __, lastUsedMs: ___, ...status }: PoolStatus, polled: boolean): EngineStatus => ({
  ...status,
  polled,
});

if (isMain(import.meta.url)) await runRole("gpu-worker", startGpuWorkerRole);

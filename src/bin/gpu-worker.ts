import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createHoldSession } from "../activities/hold-session.ts";
import { createInfer } from "../activities/infer.ts";
import { createFetchInput } from "../activities/input-files.ts";
import { openInputFolder } from "../activities/input-folder.ts";
import { createOwnKey } from "../activities/own-file.ts";
import { createRecordOutcome } from "../activities/record-outcome.ts";
import { createRunningRequests } from "../activities/running-requests.ts";
import { createGuardedFetch } from "../adapters/http/guarded-fetch.ts";
import { startGpuWorker } from "../adapters/temporal/workers.ts";
import { createClosing } from "../core/closing.ts";
import { systemClock } from "../core/ports/clock.ts";
import { createEnginePool } from "../gpu-workers/engine-pool.ts";
import { ENGINE_PROGRAMS } from "../gpu-workers/engine-programs.ts";
import type { Parts } from "./parts.ts";
import { isMain, type Role, runRole } from "./role.ts";

const LOG_METHOD = { DEBUG: "debug", INFO: "info", WARN: "warn", ERROR: "error" } as const;

/** Polls the task queues of the models of its device and owns the pool of their engines. */
export async function startGpuWorkerRole(parts: Parts): Promise<Role> {
  const { config, registry, log } = parts;
  const wanted = config.worker.models?.split(",").map((endpoint) => endpoint.trim());
  const unknown = wanted?.filter((endpoint) => !registry.route(endpoint)) ?? [];
  if (unknown.length > 0)
    throw new Error(`TEMPERA_WORKER_MODELS names ${unknown.join(", ")}, which no model package serves; see \`tempera models list\`.`);
  const models = registry.list().filter(({ endpoint }) => !wanted || wanted.includes(endpoint));

  const closing = createClosing();
  const sockets = await mkdtemp(join(tmpdir(), "tempera-"));
  closing.defer(() => rm(sockets, { recursive: true, force: true }));
  const pool = createEnginePool({
    findModel: registry.find,
    programs: ENGINE_PROGRAMS,
    folder: sockets,
    workerName: parts.identity,
    log: (level, message, about) => log[LOG_METHOD[level]](about, message),
  });
  closing.defer(() => pool[Symbol.asyncDispose]());
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
  // A pinned model is loaded before its queue is polled; one that cannot be loaded is polled all the same, so that its requests say why.
  await Promise.all(
    models
      .filter(({ pinned }) => pinned)
      .map((model) =>
        pool
          .warm(model)
          .catch((error) => log.error({ endpoint: model.endpoint, version: model.version, err: error }, "a pinned model did not load")),
      ),
  );
  const workers = await Promise.all(
    models.map((model) =>
      startGpuWorker({ connection, namespace: config.temporal.namespace, identity: parts.identity }, model, {
        activities: { infer, holdSession },
        graceMs: config.worker.graceSeconds * 1000,
      }),
    ),
  );
  log.info({ models: models.map(({ endpoint, version }) => `${endpoint}@${version}`) }, "serving");
  return {
    ended: Promise.all(workers.map(({ ended }) => ended)).then(() => {}),
    stop: async () => {
      await Promise.all(workers.map((worker) => worker.stop()));
      await closing[Symbol.asyncDispose]();
    },
  };
}

if (isMain(import.meta.url)) await runRole("gpu-worker", startGpuWorkerRole);

import { readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { checkRollouts } from "../maintenance/check-rollouts.ts";
import {
  createDeliverWebhook,
  createRecordAttempt,
  createWebhookHostHasRoom,
} from "../activities/webhooks/deliver-webhook.ts";
import { earlierClock } from "../core/operations/conservative-clock.ts";
import { createWebhookGate } from "../activities/webhooks/host-limiter.ts";
import { keepDoing } from "../core/concurrency/periodic-task.ts";
import { createPipelineNews } from "../activities/pipelines/pipeline-event-sink.ts";
import {
  createCheckPipelineInput,
  createLoadValue,
  createStoreValue,
} from "../activities/pipelines/pipeline-values.ts";
import {
  createEnterPlace,
  createLeavePlace,
  keepPlacesRight,
} from "../activities/operations/concurrency-slots.ts";
import { createReconcileUsage } from "../activities/operations/reconcile-usage.ts";
import { createRecordOutcome } from "../activities/inference/record-outcome.ts";
import { createRetentionStep } from "../activities/operations/retention-step.ts";
import { sweepClaims } from "../maintenance/sweep-idempotency-claims.ts";
import { sweepFiles } from "../maintenance/sweep-files.ts";
import { createGuardedFetch } from "../adapters/http/guarded-fetch.ts";
import { createClosedJobs } from "../adapters/temporal/closed-jobs.ts";
import { createJobs } from "../adapters/temporal/jobs.ts";
import { ensureSchedules } from "../adapters/temporal/schedules.ts";
import { startOrchestratorWorker, startWebhookWorker } from "../adapters/temporal/worker/workers.ts";
import { workflowBundle } from "../adapters/temporal/worker/workflow-bundle.ts";
import type { Config } from "../config/settings.ts";
import { LIMITS } from "../core/limits.ts";
import { steadyClock, systemClock } from "../core/operations/clock.ts";
import { sweepFrom } from "../core/operations/retention.ts";
import { ENCODED_FAILURES, PROJECT } from "./open-registry.ts";
import type { Parts } from "./parts.ts";
import { payloadKeysOf } from "./payload-keys.ts";
import { retentionPolicy } from "./retention-policy.ts";
import { isMain, type Role, runRole } from "./role.ts";

/** Advances the workflows and runs their light activities. */
export async function startOrchestrator(
  parts: Parts,
  bundling = orchestratorBundle(parts.config),
): Promise<Role> {
  const { log } = parts;
  const bundle = await bundling;
  const place = {
    connection: parts.connection,
    namespace: parts.config.temporal.namespace,
    identity: parts.identity,
    dataConverter: parts.dataConverter,
  };
  const http = createGuardedFetch({ allowed: parts.allowedPrivate });
  const gate = createWebhookGate();
  const jobs = createJobs(parts.client);
  await ensureSchedules(parts.client, [
    {
      name: "retention",
      workflowType: "retention",
      args: [sweepFrom("expired")],
      everyMs: parts.config.retention.everySeconds * 1000,
    },
    {
      name: "orphans",
      workflowType: "retention",
      args: [sweepFrom("orphans")],
      everyMs: LIMITS.orphanSweepMs,
    },
    {
      name: "usage",
      workflowType: "usageReconciliation",
      args: [{ windowMs: 2 * LIMITS.usageCheckMs, lagMs: LIMITS.usageCheckLagMs }],
      everyMs: LIMITS.usageCheckMs,
    },
  ]);
  const places = { places: parts.places, jobs };
  const news = createPipelineNews(parts);
  const workers = await Promise.all([
    startOrchestratorWorker(place, {
      workflowBundle: bundle,
      activities: {
        recordOutcome: createRecordOutcome({ ...parts, clock: systemClock }),
        enterPlace: createEnterPlace(places),
        leavePlace: createLeavePlace(places),
        loadValue: createLoadValue(parts),
        storeValue: createStoreValue(parts),
        checkPipelineInput: createCheckPipelineInput(parts),
        retentionStep: createRetentionStep({
          ...parts,
          jobs,
          policy: retentionPolicy(parts.config),
          clock: systemClock,
        }),
        reconcileUsage: createReconcileUsage({
          ...parts,
          jobs,
          closedJobs: createClosedJobs(parts.client),
          clock: systemClock,
        }),
      },
      news,
    }),
    startWebhookWorker(place, {
      activities: {
        deliverWebhook: createDeliverWebhook({ ...parts, gate, http, clock: systemClock }),
        recordDeliveryAttempt: createRecordAttempt(parts),
        webhookHostHasRoom: createWebhookHostHasRoom({ gate }),
      },
    }),
  ]);
  const sweeps = [
    keepDoing(
      async () =>
        sweepFiles({ ...parts, clock: await earlierClock(systemClock, parts.retention, steadyClock) }),
      {
        everyMs: LIMITS.sweepMs,
        otherwise: "files were not swept",
        log,
      },
    ),
    keepDoing(() => parts.nodeResults.sweep(systemClock.nowMs()), {
      everyMs: LIMITS.sweepMs,
      otherwise: "results of nodes were not swept",
      log,
    }),
    keepDoing(() => sweepClaims(parts), {
      everyMs: LIMITS.claimSweepMs,
      otherwise: "claims were not swept",
      log,
    }),
    keepPlacesRight({ ...places, log }),
    keepDoing(() => checkRollouts({ ...parts, clock: systemClock, log }, LIMITS.rolloutCheckMs), {
      everyMs: LIMITS.rolloutCheckMs,
      otherwise: "rollouts were not checked",
      log,
    }),
  ];
  return {
    ended: Promise.race(workers.map(({ ended }) => ended)),
    stop: async () => {
      news.stop();
      await Promise.all([...sweeps.map((stop) => stop()), ...workers.map((worker) => worker.stop())]);
    },
  };
}

const WORKFLOWS = join(PROJECT, "src/workflows");
const PIPELINE_SCHEMAS = join(PROJECT, "schemas/pipelines");

/**
 * The platform's own workflow code, which keeps nothing outside of functions, and the schemas of pipelines.
 * What authors write, in `pipelines/`, and the two modules that import it are evaluated for each workflow: a
 * variable beside their functions is the workflow's own.
 */
function sharedModules(): string[] {
  const own = readdirSync(WORKFLOWS).filter(
    (name) => /(?<!\.test)\.ts$/.test(name) && name !== "index.ts" && name !== "pipeline.ts",
  );
  const schemas = readdirSync(PIPELINE_SCHEMAS, { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".json"),
  );
  return [
    ...own.sort().map((name) => join(WORKFLOWS, name)),
    ...schemas.sort().map((name) => join(PIPELINE_SCHEMAS, name)),
  ];
}

/**
 * The workflow code, bundled once and kept beside the installed packages; where payloads are encrypted, with
 * failures that can be.
 */
export const orchestratorBundle = (config?: Config): Promise<{ codePath: string }> =>
  workflowBundle({
    workflowsPath: join(WORKFLOWS, "index.ts"),
    sources: [WORKFLOWS, join(PROJECT, "src/core"), PIPELINE_SCHEMAS],
    shared: sharedModules(),
    cacheFolder: resolve(PROJECT, "node_modules/.cache/tempera"),
    lockFile: join(PROJECT, "package-lock.json"),
    failureConverterPath: config && payloadKeysOf(config).newest ? ENCODED_FAILURES : undefined,
  });

if (isMain(import.meta.url)) await runRole("orchestrator", (parts) => startOrchestrator(parts));

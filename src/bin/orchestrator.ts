import { activityInfo } from "@temporalio/activity";
import type { NativeConnection } from "@temporalio/worker";
import { createRecordOutcome } from "../activities/inference/record-outcome.ts";
import { createAcquireSlot, createReleaseSlot } from "../activities/operations/concurrency-slots.ts";
import { createReconcileUsage } from "../activities/operations/reconcile-usage.ts";
import { createRetentionStep } from "../activities/operations/retention-step.ts";
import { createCheckOutput } from "../activities/pipelines/check-output.ts";
import { createPipelineEventSink } from "../activities/pipelines/pipeline-event-sink.ts";
import {
  createCheckPipelineInput,
  createLoadValue,
  createStoreValue,
  createValueMemory,
} from "../activities/pipelines/pipeline-values.ts";
import {
  createDeliverWebhook,
  createRecordAttempt,
  createWebhookHostHasCapacity,
} from "../activities/webhooks/deliver-webhook.ts";
import { createWebhookHostLimiter } from "../activities/webhooks/host-limiter.ts";
import { createGuardedFetch } from "../adapters/http/guarded-fetch.ts";
import { unlessAway } from "../adapters/temporal/away.ts";
import { createTemporalCalls } from "../adapters/temporal/calls.ts";
import { createClosedJobs } from "../adapters/temporal/closed-jobs.ts";
import { createJobs } from "../adapters/temporal/jobs.ts";
import { ensureSchedules, type Scheduled } from "../adapters/temporal/schedules.ts";
import {
  type RunningWorker,
  startOrchestratorWorker,
  startWebhookWorker,
} from "../adapters/temporal/worker/workers.ts";
import type { Config } from "../config/settings.ts";
import { LIMITS } from "../core/limits.ts";
import { systemClock } from "../core/operations/clock.ts";
import { closeOnFailure } from "../core/operations/close-stack.ts";
import { sweepFrom } from "../core/operations/retention.ts";
import type { Jobs } from "../core/requests/jobs.ts";
import { TREES } from "../fal/index.ts";
import { startMaintenance } from "../maintenance/index.ts";
import { retentionPolicy } from "./configured/retention-policy.ts";
import { fileSigning, outputUrls } from "./file-signing.ts";
import { orchestratorBundle } from "./orchestrator-bundle.ts";
import type { Parts } from "./parts.ts";
import { isMain, type Role, runRole } from "./role.ts";

/** Starts the role that advances the workflows and runs their light activities, once Temporal was reached. */
export async function startOrchestrator(
  parts: Parts,
  bundling = orchestratorBundle(parts.config),
): Promise<Role> {
  const bundle = await bundling;
  const connection = await parts.connected;
  await ensureSchedules(parts.client, schedulesOf(parts.config));
  const sink = createPipelineEventSink(parts);
  return closeOnFailure(async (closing) => {
    closing.defer(() => sink.stop());
    const calls = createTemporalCalls(parts.client);
    closing.defer(() => calls[Symbol.dispose]());
    const jobs = createJobs(parts.client, calls);
    const started = async (starting: Promise<RunningWorker>): Promise<RunningWorker> => {
      const worker = await unlessAway(starting);
      closing.defer(() => worker.stop());
      return worker;
    };
    const options = workerOptions(parts, connection);
    // One after the other, so that none starts after the other has failed.
    const workers = [
      await started(startWebhookWorker(options, { activities: await webhookActivities(parts) })),
      await started(
        startOrchestratorWorker(options, {
          workflowBundle: bundle,
          activities: orchestratorActivities(parts, jobs),
          sinks: { pipelineEvents: sink },
          workflowThread: parts.config.temporal.workflowThread,
          log: parts.log,
        }),
      ),
    ];
    parts.processHealth.role("orchestrator").enter("serving");
    const maintenance = startMaintenance({ ...parts, jobs, clock: systemClock });
    return {
      ended: Promise.race(workers.map(({ ended }) => ended)),
      stop: async () => {
        sink.stop();
        await Promise.all([maintenance.stop(), ...workers.map((worker) => worker.stop())]);
        calls[Symbol.dispose]();
      },
    };
  });
}

const workerOptions = ({ config, identity, dataConverter }: Parts, connection: NativeConnection) => ({
  connection,
  namespace: config.temporal.namespace,
  identity,
  dataConverter,
});

/** The workflows that Temporal starts by itself. */
const schedulesOf = ({ retention }: Config): Scheduled[] => [
  {
    name: "retention",
    workflowType: "retention",
    args: [sweepFrom("expired")],
    everyMs: retention.everySeconds * 1000,
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
];

/** Creates the activities of the task queue `orchestrator`. */
function orchestratorActivities(parts: Parts, jobs: Jobs) {
  const slots = { slots: parts.slots, jobs };
  const clock = systemClock;
  const ownerOf = async () =>
    (await jobs.describe(activityInfo().workflowExecution?.workflowId ?? ""))?.ownerId;
  const memory = createValueMemory(ownerOf);
  return {
    recordOutcome: createRecordOutcome({
      ...parts,
      clock,
      isDurable: () => !activityInfo().isLocal,
      checkOutput: createCheckOutput(parts),
    }),
    enterPlace: createAcquireSlot(slots),
    leavePlace: createReleaseSlot(slots),
    loadValue: createLoadValue({ ...parts, memory }),
    storeValue: createStoreValue({ ...parts, memory, ownerOf }),
    checkPipelineInput: createCheckPipelineInput({ ...parts, memory }),
    retentionStep: createRetentionStep({ ...parts, jobs, policy: retentionPolicy(parts.config), clock }),
    reconcileUsage: createReconcileUsage({
      ...parts,
      jobs,
      closedJobs: createClosedJobs(parts.client),
      clock,
    }),
  };
}

/** Creates the activities of the task queue `webhooks`. */
async function webhookActivities(parts: Parts) {
  const hostLimiter = createWebhookHostLimiter();
  const http = createGuardedFetch({ allowed: parts.allowedPrivate });
  return {
    deliverWebhook: createDeliverWebhook({
      ...parts,
      ...(await fileSigning(parts)),
      roots: outputUrls(parts).map((url) => `${url}${TREES.files.prefix}/`),
      hostLimiter,
      http,
      clock: systemClock,
    }),
    recordDeliveryAttempt: createRecordAttempt(parts),
    webhookHostHasRoom: createWebhookHostHasCapacity({ hostLimiter }),
  };
}

if (isMain(import.meta.url))
  await runRole({ name: "orchestrator", start: (parts) => startOrchestrator(parts) });

/**
 * Deliveries that wait. One to a busy host may wait for ever, and no limit of Temporal's histories ends it;
 * one that waits for its next attempt can be sent to another address.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Context } from "@temporalio/activity";
import { Client, Connection } from "@temporalio/client";
import { NativeConnection, Worker } from "@temporalio/worker";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { WebhookActivities } from "../../src/activities/index.ts";
import type { AttemptReport, AttemptTask } from "../../src/activities/webhooks/deliver-webhook.ts";
import { createDeliveries } from "../../src/adapters/temporal/deliveries.ts";
import { orchestratorBundle } from "../../src/bin/orchestrator-bundle.ts";
import { ORCHESTRATOR_QUEUE } from "../../src/core/requests/job.ts";
import { deliveryWorkflowId, WEBHOOK_QUEUE, type WebhookDelivery } from "../../src/core/webhooks/webhook.ts";
import { startTemporal, type TemporalService } from "../../src/dev/services/temporal.ts";

const DELIVERY: WebhookDelivery = {
  url: "http://busy.example/hook",
  delaysMs: [1, 1],
  timeoutMs: 1_000,
  requestId: "019a1b2c-0000-7000-8000-000000000000",
  ownerId: "ann",
  endpoint: "a/b",
  outcome: { ok: true, output: { inline: { text: "x".repeat(30_000) } }, metrics: {} },
  jobAttempts: 1,
  round: 3,
};

let folder: string;
let temporal: TemporalService;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-webhook-capacity-"));
  // 4,096 events by default: half an hour of waiting.
  temporal = await startTemporal({
    folder,
    inMemory: true,
    log: () => {},
    settings: { "limit.historyCount.suggestContinueAsNew": 20 },
  });
});
afterAll(async () => {
  await temporal.stop();
  await rm(folder, { recursive: true, force: true });
});

it("continues as new at its attempt and round, and hands the outcome to attempts only", async () => {
  const options = {
    namespace: temporal.namespace,
    connection: await NativeConnection.connect({ address: temporal.url }),
  };
  const connection = await Connection.connect({ address: temporal.url });
  const tasks: AttemptTask[] = [];
  const runs = new Set<string>();
  let looks = 0;
  const activities: WebhookActivities = {
    // The first attempt fails; the second finds its host busy until the fifth look.
    async deliverWebhook(task): Promise<AttemptReport> {
      tasks.push(task);
      runs.add(Context.current().info.workflowExecution?.runId ?? "");
      return task.attempt > 1 && looks < 5 ? { busy: true } : { delivered: task.attempt > 1 };
    },
    recordDeliveryAttempt: () => Promise.reject(new Error("nothing was unrecorded")),
    async webhookHostHasRoom({ url }) {
      expect(url).toBe(DELIVERY.url);
      looks += 1;
      return looks >= 5;
    },
  };
  const bundle = await orchestratorBundle();
  const [workflows, attempts] = await Promise.all([
    Worker.create({ ...options, taskQueue: ORCHESTRATOR_QUEUE, workflowBundle: bundle }),
    Worker.create({ ...options, taskQueue: WEBHOOK_QUEUE, activities }),
  ]);
  const { workflow } = new Client({ connection, namespace: temporal.namespace });
  const result = await workflows.runUntil(
    attempts.runUntil(async () => {
      const handle = await workflow.start("webhookDelivery", {
        workflowId: "busy",
        taskQueue: ORCHESTRATOR_QUEUE,
        args: [DELIVERY],
      });
      const ended = await handle.result();
      const first = await workflow
        .getHandle("busy", handle.firstExecutionRunId, { followRuns: false })
        .describe();
      expect(first.status.name).toBe("CONTINUED_AS_NEW");
      for (const runId of runs) {
        const history = await workflow.getHandle("busy", runId).fetchHistory();
        await Worker.runReplayHistory({ workflowBundle: bundle }, history, "busy");
      }
      return ended;
    }),
  );
  await connection.close();
  await options.connection.close();
  expect(result).toEqual({ attempts: 2 });
  expect(looks).toBe(5);
  expect(tasks.map(({ attempt }) => attempt).slice(0, 2)).toEqual([1, 2]);
  expect(new Set(tasks.map(({ delivery }) => delivery.round))).toEqual(new Set([3]));
  // The first attempt, then one at the beginning of each history and one when there was capacity.
  expect(tasks.length).toBeLessThanOrEqual(1 + runs.size + 1);
});

it("makes the next attempt at once when an operator names another address", async () => {
  const options = {
    namespace: temporal.namespace,
    connection: await NativeConnection.connect({ address: temporal.url }),
  };
  const connection = await Connection.connect({ address: temporal.url });
  const client = new Client({ connection, namespace: temporal.namespace });
  const elsewhere = { ...DELIVERY, url: "http://elsewhere.example/hook" };
  const urls: string[] = [];
  let tried: (() => void) | undefined;
  const firstTry = new Promise<void>((resolve) => {
    tried = resolve;
  });
  const activities: WebhookActivities = {
    async deliverWebhook({ delivery }): Promise<AttemptReport> {
      urls.push(delivery.url);
      tried?.();
      return { delivered: delivery.url === elsewhere.url };
    },
    recordDeliveryAttempt: () => Promise.reject(new Error("nothing was unrecorded")),
    webhookHostHasRoom: () => Promise.reject(new Error("nobody was busy")),
  };
  const [workflows, attempts] = await Promise.all([
    Worker.create({ ...options, taskQueue: ORCHESTRATOR_QUEUE, workflowBundle: await orchestratorBundle() }),
    Worker.create({ ...options, taskQueue: WEBHOOK_QUEUE, activities }),
  ]);
  const result = await workflows.runUntil(
    attempts.runUntil(async () => {
      const handle = await client.workflow.start("webhookDelivery", {
        workflowId: deliveryWorkflowId(DELIVERY.requestId),
        taskQueue: ORCHESTRATOR_QUEUE,
        args: [{ ...DELIVERY, delaysMs: [3_600_000, 1] }],
      });
      await firstTry;
      expect(await createDeliveries(client).start(elsewhere)).toBe("retried_now");
      return handle.result();
    }),
  );
  await connection.close();
  await options.connection.close();
  expect(urls).toEqual([DELIVERY.url, elsewhere.url]);
  expect(result).toEqual({ attempts: 2 });
});

/**
 * Replays recorded histories on the current workflow code: a change that would break running jobs fails here.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { bundleWorkflowCode, Worker } from "@temporalio/worker";
import { DeterminismViolationError } from "@temporalio/workflow";
import { describe, expect, it } from "vitest";
import { StepWatch } from "../../src/adapters/temporal/worker/step-watch.ts";
import { workflowWorker } from "../../src/adapters/temporal/worker/workflow-worker.ts";
import { orchestratorBundle } from "../../src/bin/orchestrator-bundle.ts";

const FOLDER = join(import.meta.dirname, "histories");
const read = (file: string): { events: { eventType: string }[] } =>
  JSON.parse(readFileSync(join(FOLDER, file), "utf8"));

describe("recorded histories", () => {
  const files = readdirSync(FOLDER).filter((file) => file.endsWith(".json"));

  it("cover success, retry, cancel, failure and the wait for a slot", () => {
    for (const path of [
      "success",
      "recorded-by-worker",
      "retry",
      "failure",
      "exhausted",
      "cancel-running",
      "cancel-waiting",
      "start-timeout",
      "waited-for-slot",
    ]) {
      expect(files).toContain(`inference-job.${path}.json`);
    }
  });

  it("cover the wait for a store, its end without success, and a cancel meanwhile", () => {
    for (const path of ["store-wait", "store-given-up", "store-wait-cancelled"])
      expect(files).toContain(`inference-job.${path}.json`);
  });

  it("cover the start of a webhook, each end of its delivery, and a busy host", () => {
    for (const path of ["inference-job.webhook", "inference-job.webhook-failure"])
      expect(files).toContain(`${path}.json`);
    for (const path of ["delivered", "retried", "used-up", "sent-away-before-asking", "sent-away"])
      expect(files).toContain(`webhook-delivery.${path}.json`);
  });

  it("cover success, retry, cancel, failure and limits of a pipeline, and the resume of a node", () => {
    for (const path of [
      "success",
      "retry",
      "resume",
      "failure",
      "refused-node",
      "exhausted",
      "node-limit",
      "cancel",
      "cancel-node",
    ]) {
      expect(files).toContain(`pipeline.${path}.json`);
    }
  });

  it("cover the slots of nodes: the pipeline's own, granted ones, and those of a nested pipeline", () => {
    for (const path of ["node-slots", "node-slots-nested", "node-slots-cancelled"])
      expect(files).toContain(`pipeline.${path}.json`);
  });

  it("cover the end of a session, the loss of its engine, and both ways to get no slot", () => {
    for (const path of ["closed", "retry", "start-timeout", "cancel-waiting"])
      expect(files).toContain(`realtime-session.${path}.json`);
  });

  it("cover both sweeps, with and without items to delete, and a check of the ledger", () => {
    for (const path of [
      "retention.nothing",
      "retention.steps",
      "retention.orphans",
      "usage-reconciliation.checked",
    ])
      expect(files).toContain(`${path}.json`);
  });

  describe.each(["lean", "sdk"] as const)("on the %s thread", (thread) => {
    it.each(files)("%s replays", async (file) => {
      const watch = new StepWatch();
      const worker = await workflowWorker(thread, watch);
      await worker.runReplayHistory({ workflowBundle: await orchestratorBundle() }, read(file));
      watch.stop();
    });
  });

  it("catch an incompatible change", async () => {
    const { code } = await bundleWorkflowCode({
      workflowsPath: join(import.meta.dirname, "incompatible-workflows.ts"),
      logger: silent,
    });
    await expect(
      Worker.runReplayHistory({ workflowBundle: { code } }, read("inference-job.success.json")),
    ).rejects.toThrow(DeterminismViolationError);
  });
});

const nothing = (): void => {};
const silent = { log: nothing, trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing };

import { Worker } from "@temporalio/worker";
import { describe, expect, it, vi } from "vitest";
import { StepWatch } from "./step-watch.ts";
import {
  installedSdkVersion,
  LEAN_THREAD_SDK_VERSION,
  supportedWorkflowThread,
  workflowWorker,
} from "./workflow-worker.ts";

describe("supportedWorkflowThread", () => {
  const log = () => ({ warn: vi.fn() });

  it("keeps the lean thread on the SDK version that it was written for", () => {
    const quiet = log();
    expect(installedSdkVersion()).toBe(LEAN_THREAD_SDK_VERSION);
    expect(supportedWorkflowThread("lean", quiet)).toBe("lean");
    expect(quiet.warn).not.toHaveBeenCalled();
  });

  it.each(["1.24.1", "1.25.0", "2.0.0"])(
    "falls back to the SDK's thread on %s and names both",
    (installed) => {
      const warned = log();
      expect(supportedWorkflowThread("lean", warned, installed)).toBe("sdk");
      expect(warned.warn).toHaveBeenCalledTimes(1);
      const message = String(warned.warn.mock.calls[0]?.[1]);
      expect(message).toContain(installed);
      expect(message).toContain(LEAN_THREAD_SDK_VERSION);
      expect(message).toContain("docs/upgrading-temporal.md");
    },
  );

  it("takes the SDK's thread on any version without a warning", () => {
    const quiet = log();
    for (const installed of [LEAN_THREAD_SDK_VERSION, "2.0.0"])
      expect(supportedWorkflowThread("sdk", quiet, installed)).toBe("sdk");
    expect(quiet.warn).not.toHaveBeenCalled();
  });
});

describe("workflowWorker", () => {
  it("is the SDK's own class for sdk, and a class derived from it for lean", async () => {
    const watch = new StepWatch();
    expect(await workflowWorker("sdk", watch)).toBe(Worker);
    const lean = await workflowWorker("lean", watch);
    expect(lean).not.toBe(Worker);
    expect(lean.prototype).toBeInstanceOf(Worker);
    watch.stop();
  });
});

/**
 * Selects the thread that workflow code runs on.
 *
 * - `lean`: `lean-workflow-worker.ts`, at half the cost. It uses internals of one version of the SDK.
 * - `sdk`: the SDK's own thread, with public API only.
 *
 * `supportedWorkflowThread` falls back to `sdk` when another version of the SDK is installed.
 */
import { createRequire } from "node:module";
import { Worker } from "@temporalio/worker";
import type { Log } from "../../../core/operations/log.ts";
import type { StepWatch } from "./step-watch.ts";

export type WorkflowThread = "lean" | "sdk";

/** The version of `@temporalio/worker` whose internals `lean` uses. */
export const LEAN_THREAD_SDK_VERSION = "1.24.0";

/** Returns the version of `@temporalio/worker` that is installed. */
export function installedSdkVersion(): string {
  return createRequire(import.meta.url)("@temporalio/worker/package.json").version;
}

/**
 * Returns `wanted`, or `sdk` with a warning when the installed SDK is not the one that `lean` was written
 * for.
 */
export function supportedWorkflowThread(
  wanted: WorkflowThread,
  log: Pick<Log, "warn">,
  installed = installedSdkVersion(),
): WorkflowThread {
  if (wanted === "sdk" || installed === LEAN_THREAD_SDK_VERSION) return wanted;
  log.warn(
    { installed, writtenFor: LEAN_THREAD_SDK_VERSION },
    `The lean workflow thread was written for @temporalio/worker ${LEAN_THREAD_SDK_VERSION}, and ` +
      `${installed} is installed: ` +
      "workflows run on the SDK's own thread, which costs more. Check the new version as " +
      "docs/upgrading-temporal.md describes, or set temporal.workflowThread to sdk.",
  );
  return "sdk";
}

/**
 * Returns the worker class whose workflows run on `thread`.
 *
 * @param watch observes the steps of workflows on the lean thread. The SDK's thread has timeouts of its own
 */
export async function workflowWorker(thread: WorkflowThread, watch: StepWatch): Promise<typeof Worker> {
  if (thread === "sdk") return Worker;
  // Imported only here: the internals that it imports may be missing in another version of the SDK.
  const { leanWorkflowWorker } = await import("./lean-workflow-worker.ts");
  return leanWorkflowWorker(watch);
}

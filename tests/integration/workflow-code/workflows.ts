import { defineQuery, proxySinks, type Sinks, setHandler, sleep } from "@temporalio/workflow";
import { useShared } from "./shared-state.ts";

let calls = 0;

/** Counts its calls in a variable beside it, and in a module that all workflows share. */
export async function counts(): Promise<{ own: number; shared: number }> {
  setHandler(defineQuery("state"), () => "answered");
  calls++;
  return { own: calls, shared: useShared() };
}

/** Runs a loop that never ends. */
export async function spins(): Promise<void> {
  for (;;);
}

/** Leaves a rejected promise behind without a handler. */
export async function forgets(): Promise<void> {
  void Promise.reject(new Error("left behind"));
  await new Promise(() => {});
}

export interface ProgressSinks extends Sinks {
  progress: { report(what: string): void };
}

/** Calls a sink in each of its steps, and at the end of the last. */
export async function reports(): Promise<string> {
  setHandler(defineQuery("state"), () => "answered");
  const { progress } = proxySinks<ProgressSinks>();
  progress.report("begun");
  await sleep(1);
  progress.report("waited");
  await Promise.resolve();
  progress.report("done");
  return "result of reports";
}

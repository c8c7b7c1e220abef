import type { Workflow, WorkflowCreator } from "@temporalio/worker/lib/workflow/interface.js";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { StepWatch } from "./step-watch.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Workflows whose steps end when they are told to. */
function held(): { creator: WorkflowCreator; end: (workflowId: string) => void } {
  const ends = new Map<string, () => void>();
  return {
    end: (workflowId) => ends.get(workflowId)?.(),
    creator: {
      createWorkflow: async ({ info }) =>
        ({
          activate: () => new Promise((resolve) => ends.set(info.workflowId, () => resolve({}))),
          getAndResetSinkCalls: async () => [],
          dispose: async () => {},
        }) satisfies Workflow,
      destroy: async () => {},
    },
  };
}

async function watching() {
  const watch = new StepWatch(1_000);
  const { creator, end } = held();
  const told: string[] = [];
  watch.stuck.catch((error) => told.push(error.message));
  const watched = watch.watch(creator);
  const begin = async (workflowId: string): Promise<void> => {
    const workflow = await watched.createWorkflow({ info: { workflowId, workflowType: "job" } } as never);
    void workflow.activate({});
  };
  return { watch, told, begin, end };
}

it("tells of the oldest step when none has come to an end for four looks", async () => {
  const { told, begin } = await watching();
  await begin("a");
  await begin("b");
  await vi.advanceTimersByTimeAsync(4_900);
  expect(told).toEqual([]);
  await vi.advanceTimersByTimeAsync(200);
  expect(told).toEqual([expect.stringContaining("The workflow job a has held the thread of all workflows for 4 s")]);
});

it("is content as long as steps end, however many wait", async () => {
  const { told, begin, end } = await watching();
  for (let i = 0; i < 20; i++) await begin(`w${i}`);
  for (let i = 0; i < 20; i++) {
    await vi.advanceTimersByTimeAsync(3_000);
    end(`w${i}`);
    await vi.advanceTimersByTimeAsync(0);
  }
  await vi.advanceTimersByTimeAsync(60_000);
  expect(told).toEqual([]);
});

it("looks no more once it is stopped", async () => {
  const { watch, told, begin } = await watching();
  await begin("a");
  watch.stop();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(told).toEqual([]);
});

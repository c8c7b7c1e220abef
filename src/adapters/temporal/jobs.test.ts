import type { Client } from "@temporalio/client";
import { expect, it } from "vitest";
import type { TemporalCalls } from "./calls.ts";
import { createJobs } from "./jobs.ts";

const STARTED = 2;

/** Reads jobs from a Temporal that describes a running workflow of this type with these activities. */
function jobsOf(type: string, pendingActivities: { activityId: string; name: string }[]) {
  const description = {
    type,
    status: { name: "RUNNING" },
    startTime: new Date(0),
    memo: { request: { requestId: "r" } },
    raw: {
      pendingActivities: pendingActivities.map(({ activityId, name }) => ({
        activityId,
        activityType: { name },
        state: STARTED,
        attempt: 1,
      })),
    },
  };
  const client = { workflow: { getHandle: () => ({ describe: async () => description }) } };
  const calls = { read: (work: () => unknown) => work() };
  return createJobs(client as unknown as Client, calls as unknown as TemporalCalls);
}

const RECORDING = { activityId: "2", name: "recordOutcome" };

it("tells that the end of a job waits to be recorded, and that one of a pipeline's does", async () => {
  expect(await jobsOf("inferenceJob", [RECORDING]).describe("r")).toMatchObject({ recording: true });
  const pipeline = await jobsOf("pipeline", [RECORDING]).describe("r");
  expect(pipeline).toMatchObject({ mayBeRecording: true });
  // Another node's end may be the one that waits: the pipeline can still be cancelled.
  expect(pipeline).not.toHaveProperty("recording");
  const running = await jobsOf("pipeline", [{ activityId: "n", name: "infer" }]).describe("r");
  expect(running).not.toHaveProperty("mayBeRecording");
});

it("tells that the end of a node may wait to be recorded, unless the node runs", async () => {
  const node = { pipelineId: "p", id: "n" };
  const infer = { activityId: "r", name: "infer" };
  const jobs = jobsOf("pipeline", [RECORDING]);
  expect(await jobs.describeNode("r", node)).toEqual({
    state: "IN_PROGRESS",
    attempt: 1,
    mayBeRecording: true,
  });
  expect(await jobsOf("pipeline", [RECORDING, infer]).describeNode("r", node)).toEqual({
    state: "IN_PROGRESS",
    attempt: 1,
  });
});

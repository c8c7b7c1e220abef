/** A platform whose Temporal does not answer in time while the roles start. */
import { ScheduleClient, type ScheduleOptions, ServiceError } from "@temporalio/client";
import { TransportError, Worker } from "@temporalio/worker";
import { afterEach, expect, it, vi } from "vitest";
import { startTestPlatform } from "./platform.ts";

afterEach(() => void vi.restoreAllMocks());

const late = () =>
  Object.assign(new Error("4 DEADLINE_EXCEEDED: context deadline exceeded"), { code: 4, details: "" });

it("starts all the same, each role once Temporal has answered it", async () => {
  const create = vi.spyOn(ScheduleClient.prototype, "create");
  create.mockImplementationOnce((_: ScheduleOptions) =>
    Promise.reject(new ServiceError("Failed to create the schedule", { cause: late() })),
  );
  const workers = vi.spyOn(Worker, "create");
  // Those of the GPU worker and of the webhooks, and one of them again.
  for (let i = 0; i < 3; i++)
    workers.mockRejectedValueOnce(new TransportError("Namespace describe call failed: Timeout expired"));
  await using test = await startTestPlatform();
  expect(create.mock.calls.length).toBeGreaterThan(1);
  expect(workers.mock.calls.length).toBeGreaterThan(3);
  const { request_id: id } = await test.client.submit("tempera/stub", { prompt: "x" });
  for await (const status of test.client.follow("tempera/stub", id)) expect(status.error).toBeUndefined();
});

/** Serves `bare-workflows.ts`: a workflow worker, and an activity worker on a task queue of its own. */
import { join } from "node:path";
import { NativeConnection, Worker } from "@temporalio/worker";

const connection = await NativeConnection.connect({ address: process.env.TEMPORAL_ADDRESS ?? "" });
const namespace = process.env.TEMPORAL_NAMESPACE ?? "tempera";
const [workflows, activities] = await Promise.all([
  Worker.create({
    connection,
    namespace,
    taskQueue: "bare",
    workflowsPath: join(import.meta.dirname, "bare-workflows.ts"),
    maxCachedWorkflows: 800,
    nonStickyToStickyPollRatio: 0.5,
    maxConcurrentWorkflowTaskExecutions: 100,
  }),
  Worker.create({
    connection,
    namespace,
    taskQueue: "bare-activities",
    activities: { noop: async (input: unknown) => input },
    maxConcurrentActivityTaskExecutions: 64,
    maxConcurrentActivityTaskPolls: 4,
  }),
]);
process.on("SIGTERM", () => {
  workflows.shutdown();
  activities.shutdown();
});
process.stdout.write("ready\n");
await Promise.all([workflows.run(), activities.run()]);
await connection.close();

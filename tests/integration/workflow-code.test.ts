/**
 * Workflow code on a real server, on both threads: state shared between workflows, sinks, interceptors, and
 * code that fails or does not end.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, Connection } from "@temporalio/client";
import { bundleWorkflowCode, NativeConnection } from "@temporalio/worker";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startOrchestratorWorker } from "../../src/adapters/temporal/worker/workers.ts";
import { workflowBundle } from "../../src/adapters/temporal/worker/workflow-bundle.ts";
import type { WorkflowThread } from "../../src/adapters/temporal/worker/workflow-worker.ts";
import { ORCHESTRATOR_QUEUE } from "../../src/core/requests/job.ts";
import { startTemporal, type TemporalService } from "../../src/dev/services/temporal.ts";

const CODE = join(import.meta.dirname, "workflow-code");

let folder: string;
let temporal: TemporalService;
let connection: NativeConnection;
let client: Client;
const closing: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-workflow-code-"));
  temporal = await startTemporal({ folder, inMemory: true, log: () => {} });
  connection = await NativeConnection.connect({ address: temporal.url });
  const calls = await Connection.connect({ address: temporal.url });
  client = new Client({ connection: calls, namespace: temporal.namespace });
  closing.push(() => calls.close());
});
afterAll(async () => {
  for (const close of closing) await close();
  await connection.close();
  await temporal.stop();
  await rm(folder, { recursive: true, force: true });
});

interface WorkerSetup {
  thread?: WorkflowThread;
  stepCheckMs?: number;
  sinks?: Record<string, object>;
  bundle?: { codePath: string };
}

const startWorker = async ({ thread = "lean", stepCheckMs, sinks = {}, bundle }: WorkerSetup = {}) =>
  startOrchestratorWorker(
    { connection, namespace: temporal.namespace, identity: "test", dataConverter: {} },
    {
      workflowBundle:
        bundle ??
        (await workflowBundle({
          workflowsPath: join(CODE, "workflows.ts"),
          sources: [CODE],
          shared: [join(CODE, "shared-state.ts")],
          cacheFolder: join(folder, "bundles"),
          lockFile: join(import.meta.dirname, "../../package-lock.json"),
        })),
      activities: {},
      sinks,
      workflowThread: thread,
      log: { warn: (_, message) => expect.unreachable(message) },
      ...(stepCheckMs !== undefined && { stepCheckMs }),
    },
  );
const start = (type: string, workflowId: string) =>
  client.workflow.start(type, { workflowId, taskQueue: ORCHESTRATOR_QUEUE });

describe.each(["lean", "sdk"] as const)("on the %s thread", (thread) => {
  const id = (name: string) => `${thread}-${name}`;

  it("a variable beside a workflow is that run's own; shared modules are evaluated once", async () => {
    const worker = await startWorker({ thread });
    const results = [];
    for (const name of ["a", "b", "c"]) results.push(await (await start("counts", id(name))).result());
    await worker.stop();
    expect(results.map(({ own }) => own)).toEqual([1, 1, 1]);
    expect(results.map(({ shared }) => shared)).toEqual([1, 2, 3]);
  });

  it("the sink calls of a step are made once it is done, in order", async () => {
    const called: unknown[] = [];
    const worker = await startWorker({
      thread,
      sinks: { progress: { report: (what: unknown) => called.push(what) } },
    });
    await (await start("reports", id("reports"))).result();
    expect(called).toEqual(["begun", "waited", "done"]);
    await worker.stop();
  });

  it("workflow interceptors intercept, and their sink calls arrive beside the workflow's", async () => {
    const { code } = await bundleWorkflowCode({
      workflowsPath: join(CODE, "workflows.ts"),
      workflowInterceptorModules: [join(CODE, "interceptors.ts")],
      logger: silent,
    });
    const codePath = join(folder, `${thread}-intercepted.js`);
    await writeFile(codePath, code);
    const called: unknown[] = [];
    const worker = await startWorker({
      thread,
      bundle: { codePath },
      sinks: { progress: { report: (what: unknown) => called.push(what) } },
    });
    const handle = await start("reports", id("intercepted"));
    expect(await handle.result()).toBe("intercepted result of reports");
    expect(await handle.query("state")).toBe("intercepted answered");
    expect(called).toEqual(["entered reports", "begun", "timer of 1 ms", "waited", "done", "left reports"]);
    await worker.stop();
  });

  it("an unknown workflow type fails its step, and nothing else", async () => {
    const worker = await startWorker({ thread });
    const handle = await start("nothing", id("unknown"));
    await expect
      .poll(async () => JSON.stringify((await handle.fetchHistory()).events))
      .toContain("no such function is exported by the workflow bundle");
    expect(await (await start("counts", id("known"))).result()).toMatchObject({ own: 1 });
    await handle.terminate();
    await worker.stop();
  });

  it("an unhandled rejection fails the step of its workflow alone", async () => {
    const worker = await startWorker({ thread });
    const handle = await start("forgets", id("forgetful"));
    await expect
      .poll(async () => (await handle.describe()).raw.pendingWorkflowTask?.attempt)
      .toBeGreaterThan(1);
    expect(await (await start("counts", id("beside"))).result()).toMatchObject({ own: 1 });
    await handle.terminate();
    await worker.stop();
  });
});

it("the lean thread keeps no stack traces of promises, and a query for them says so", async () => {
  const worker = await startWorker();
  const handle = await start("counts", "queried");
  await handle.result();
  expect(await handle.query("state")).toBe("answered");
  await expect(handle.query("__stack_trace")).rejects.toThrow(
    "Workflow stack traces are not enabled on this worker",
  );
  await worker.stop();
});

it("the sdk thread answers a query for stack traces", async () => {
  const worker = await startWorker({ thread: "sdk" });
  const handle = await start("counts", "traced");
  await handle.result();
  expect(await handle.query("__stack_trace")).toEqual(expect.any(String));
  await worker.stop();
});

it("the lean thread reports an endless loop with its workflow, and ends the worker", async () => {
  // A busy machine may take a thread away for a while in the middle of a step that does little.
  const worker = await startWorker({ stepCheckMs: 800 });
  // Steps of others complete in the same batch, and more are requested while it spins.
  const others = await Promise.all(["before", "too"].map((id) => start("counts", id)));
  await start("spins", "endless");
  others.push(await start("counts", "behind"));
  await expect(worker.ended).rejects.toThrow(
    "The workflow spins endless has held the thread of all workflows for 3.2 s: " +
      "a loop in its code does not end. Terminate it in Temporal, then correct its code.",
  );
  await worker.stop();
  await client.workflow.getHandle("endless").terminate();
  for (const other of others) await other.terminate().catch(() => {}); // most are done
});

const ignore = (): void => {};
const silent = { log: ignore, trace: ignore, debug: ignore, info: ignore, warn: ignore, error: ignore };

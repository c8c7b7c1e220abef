/**
 * Workflow code on a real server: what workflows share and what not, and what becomes of code that does not
 * end.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, Connection } from "@temporalio/client";
import { NativeConnection } from "@temporalio/worker";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { startOrchestratorWorker } from "../../src/adapters/temporal/worker/workers.ts";
import { workflowBundle } from "../../src/adapters/temporal/worker/workflow-bundle.ts";
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
  // The worker that was given up holds on to it until its loop has ended.
  await vi.waitFor(() => connection.close(), 60_000);
  await temporal.stop();
  await rm(folder, { recursive: true, force: true });
}, 90_000);

const startWorker = async ({ stepLookMs, news = {} }: { stepLookMs?: number; news?: object } = {}) =>
  startOrchestratorWorker(
    { connection, namespace: temporal.namespace, identity: "test", dataConverter: {} },
    {
      workflowBundle: await workflowBundle({
        workflowsPath: join(CODE, "workflows.ts"),
        sources: [CODE],
        shared: [join(CODE, "shared-state.ts")],
        cacheFolder: join(folder, "bundles"),
        lockFile: join(import.meta.dirname, "../../package-lock.json"),
      }),
      activities: {},
      news,
      ...(stepLookMs !== undefined && { stepLookMs }),
    },
  );
const start = (type: string, workflowId: string) =>
  client.workflow.start(type, { workflowId, taskQueue: ORCHESTRATOR_QUEUE });

it("a variable beside a workflow is that run's own; shared modules are evaluated once", async () => {
  const worker = await startWorker();
  const results = [];
  for (const id of ["a", "b", "c"]) results.push(await (await start("counts", id)).result());
  await worker.stop();
  expect(results.map(({ own }) => own)).toEqual([1, 1, 1]);
  expect(results.map(({ shared }) => shared)).toEqual([1, 2, 3]);
});

it("no stack is taken of promises, and who asks for them is told", async () => {
  const worker = await startWorker();
  const handle = await start("counts", "asked");
  await handle.result();
  expect(await handle.query("asked")).toBe("answered");
  await expect(handle.query("__stack_trace")).rejects.toThrow(
    "Workflow stack traces are not enabled on this worker",
  );
  await worker.stop();
});

it("what a step tells is told once it is done, in order", async () => {
  const told: unknown[] = [];
  const worker = await startWorker({ news: { tell: (what: unknown) => told.push(what) } });
  await (await start("tells", "teller")).result();
  expect(told).toEqual(["begun", "waited", "done"]);
  await worker.stop();
});

it("a workflow type that there is not fails its step, and nothing else", async () => {
  const worker = await startWorker();
  const handle = await start("nothing", "unknown");
  await vi.waitFor(async () => {
    const { events } = await handle.fetchHistory();
    expect(JSON.stringify(events)).toContain("no such function is exported by the workflow bundle");
  }, 20_000);
  expect(await (await start("counts", "known")).result()).toMatchObject({ own: 1 });
  await handle.terminate();
  await worker.stop();
});

it("a rejection that nobody handles fails the step of its workflow alone", async () => {
  const worker = await startWorker();
  const handle = await start("forgets", "forgetful");
  await vi.waitFor(async () => {
    const { raw } = await handle.describe();
    expect(raw.pendingWorkflowTask?.attempt).toBeGreaterThan(1);
  }, 20_000);
  expect(await (await start("counts", "beside")).result()).toMatchObject({ own: 1 });
  await handle.terminate();
  await worker.stop();
});

it("a loop that does not end is told by its workflow's name, and ends the worker", async () => {
  const worker = await startWorker({ stepLookMs: 100 });
  // Steps of others are done in the same breath, and more are asked for while it spins.
  const others = await Promise.all(["before", "too"].map((id) => start("counts", id)));
  await start("spins", "endless");
  others.push(await start("counts", "behind"));
  await expect(worker.ended).rejects.toThrow(
    "The workflow spins endless has held the thread of all workflows for 0.4 s: a loop in its code does not end. Terminate it in Temporal, and mend its code.",
  );
  await worker.stop();
  await client.workflow.getHandle("endless").terminate();
  for (const other of others) await other.terminate().catch(() => {}); // most are done
});

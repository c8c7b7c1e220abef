/**
 * Records the histories that `replay.test.ts` replays: `node --import tsx tests/replay/record-histories.ts
 * [name …]`.
 *
 * A recorded history is never recorded again to make a test pass: it represents jobs that run somewhere.
 * Record new names for new paths; a change that breaks an old history needs `patched()`.
 */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Client, Connection, WorkflowNotFoundError } from "@temporalio/client";
import { startPlatform } from "../../src/bin/platform.ts";
import { createPlatformClient, type PlatformClient } from "../../src/cli/platform-client.ts";
import { loadConfig } from "../../src/config/load-config.ts";
import { createLogger } from "../../src/config/logger.ts";
import { LIMITS } from "../../src/core/limits.ts";
import { ORCHESTRATOR_QUEUE } from "../../src/core/requests/job.ts";
import { freePort } from "../../src/dev/services/port.ts";
import { saveHistory } from "./save-history.ts";

const STUB = "tempera/stub";
const submit = async (
  client: PlatformClient,
  input: object,
  headers: Record<string, string> = {},
  query = "",
): Promise<string> => (await client.submit(`${STUB}${query}`, input, headers)).request_id;
const PIPELINE = "tempera/stub-pipeline";
const submitPipeline = async (
  client: PlatformClient,
  stages: object[][],
  headers: Record<string, string> = {},
): Promise<string> => (await client.submit(PIPELINE, { stages }, headers)).request_id;
const running = async (client: PlatformClient, id: string): Promise<void> => {
  for await (const { status } of client.follow(STUB, id)) if (status !== "IN_QUEUE") return;
};

/** Drains the GPU worker until it has handed over a request, then lets it serve again. */
async function drainAndResume(client: PlatformClient, endpoint: string, id: string): Promise<void> {
  await client.admin("POST", "/v1/tempera/workers/worker/drain");
  for await (const { logs } of client.follow(endpoint, id))
    if (logs?.some(({ message }) => message.startsWith("Attempt 1 failed"))) break;
  await client.admin("POST", "/v1/tempera/workers/worker/resume");
}

/**
 * Submits a job whose file cannot be stored, because a file has the name of its folder. Returns its id when
 * it has ended. `onLine` receives its log lines, and makes the store well again.
 */
async function submitWithoutFiles(
  client: PlatformClient,
  onLine: (id: string, line: string, makeWell: () => Promise<void>) => Promise<void>,
): Promise<string> {
  const files = join(folder, "objects", "artifacts");
  const makeWell = () => rm(files, { recursive: true, force: true });
  await makeWell();
  await mkdir(dirname(files), { recursive: true });
  await writeFile(files, "");
  const id = await submit(client, { artifact_bytes: 100 });
  for await (const { logs } of client.follow(STUB, id))
    for (const { message } of logs ?? []) await onLine(id, message, makeWell);
  await makeWell();
  return id;
}

/** A webhook receiver that refuses as many deliveries as its address demands. */
const receiver = createServer((incoming, response) => {
  const address = new URL(incoming.url ?? "/", "http://receiver");
  const refuse = Number(address.searchParams.get("refuse"));
  const seen = (deliveries.get(address.pathname) ?? 0) + 1;
  deliveries.set(address.pathname, seen);
  response.writeHead(seen > refuse ? 200 : 500).end();
});
const deliveries = new Map<string, number>();
await new Promise<void>((open) => receiver.listen(0, "127.0.0.1", open));
let sequence = 0;
/** Submits a job whose webhook is refused `refuse` times. Returns its request id when it has ended. */
async function submitWithWebhook(
  client: PlatformClient,
  refuse: number,
  input: object = {},
): Promise<string> {
  const { port } = receiver.address() as { port: number };
  const hook = `http://127.0.0.1:${port}/${++sequence}?refuse=${refuse}`;
  const id = await submit(client, input, {}, `?fal_webhook=${encodeURIComponent(hook)}`);
  for await (const _ of client.follow(STUB, id));
  return id;
}

/** Starts a workflow of the orchestrator. Returns its id. */
async function startWorkflow(workflowType: string, argument: object): Promise<string> {
  const workflowId = `recorded/${++sequence}`;
  await temporal.workflow.start(workflowType, {
    workflowId,
    taskQueue: ORCHESTRATOR_QUEUE,
    args: [argument],
  });
  return workflowId;
}

/**
 * Submits more webhooks to one host than it may have in flight and in its queue. The receiver responds to
 * none until one attempt was refused. Returns the id of that delivery.
 */
async function refuseForCapacity(client: PlatformClient): Promise<string> {
  const held: ServerResponse[] = [];
  const slow = createServer((_incoming, response) => void held.push(response));
  await new Promise<void>((open) => slow.listen(0, "127.0.0.1", open));
  const { port } = slow.address() as { port: number };
  const count = LIMITS.webhookHostInFlightMax + LIMITS.webhookHostWaitingMax + 1;
  const hook = encodeURIComponent(`http://127.0.0.1:${port}/`);
  const ids = await Promise.all(
    Array.from({ length: count }, () => submit(client, {}, {}, `?fal_webhook=${hook}`)),
  );
  for (const id of ids) for await (const _ of client.follow(STUB, id));
  for (;;) {
    for (const id of ids) {
      const { history } = await temporal.workflow
        .getHandle(`${id}/webhook`)
        .fetchHistory()
        .then((found) => ({ history: found }))
        .catch(() => ({ history: undefined }));
      if (!history?.events?.some(({ timerStartedEventAttributes }) => timerStartedEventAttributes)) continue;
      slow.on("request", (_incoming, response) => void response.end());
      for (const response of held) response.end();
      await temporal.workflow.getHandle(`${id}/webhook`).result();
      slow.close();
      return `${id}/webhook`;
    }
  }
}

/** Returns the pending activities and child workflows of a pipeline when there are `count` of them. */
async function pendingNodes(id: string, count: number): Promise<string[]> {
  for (;;) {
    const { raw } = await temporal.workflow.getHandle(id).describe();
    const nodes = [
      ...(raw.pendingActivities ?? []).map(({ activityId }) => activityId ?? ""),
      ...(raw.pendingChildren ?? []).map(({ workflowId }) => workflowId ?? ""),
    ];
    if (nodes.length >= count) return nodes;
  }
}

/** Limits the concurrency slots of the owner whose requests are recorded. */
const setSlots = (client: PlatformClient, inProgress: number | null) =>
  client.admin("PATCH", "/v1/tempera/owners/admin", { exceptions: { in_progress: inProgress } });

/** Resolves when so many requests of a workflow for slots have been answered. */
async function waitingForSlots(id: string, count: number): Promise<void> {
  for (;;) {
    const { events } = await temporal.workflow.getHandle(id).fetchHistory();
    const replied = events?.filter(
      ({ markerRecordedEventAttributes: marker }) => marker?.markerName === "core_local_activity",
    );
    if ((replied?.length ?? 0) >= count) return;
  }
}

/**
 * Each function makes one workflow take one path and returns its id. A file has the workflow type in its
 * name; `inference-job` where the key has none.
 */
const PATHS: Record<string, (client: PlatformClient) => Promise<string>> = {
  success: (client) => submit(client, { prompt: "hello" }),
  "recorded-by-worker": (client) => submit(client, { prompt: "hello" }),
  retry: (client) => submit(client, { fail: "crash", fail_attempts: 1 }),
  // The worker hands it over, and runs it again as another activity.
  "handed-over": async (client) => {
    const id = await submit(client, { delay_ms: 6_000, steps: 6 });
    await running(client, id);
    await drainAndResume(client, STUB, id);
    return id;
  },
  "store-wait": (client) =>
    submitWithoutFiles(client, async (_id, line, makeWell) => {
      if (line.endsWith("in 2 s.")) await makeWell();
    }),
  "store-given-up": (client) => submitWithoutFiles(client, async () => {}),
  "store-wait-cancelled": (client) =>
    submitWithoutFiles(client, async (id, line) => {
      if (line.endsWith("in 2 s.")) await client.cancel(STUB, id);
    }),
  failure: (client) => submit(client, { fail: "error" }),
  exhausted: (client) => submit(client, { fail: "crash" }, { "x-fal-no-retry": "1" }),
  webhook: (client) => submitWithWebhook(client, 0),
  "webhook-failure": (client) => submitWithWebhook(client, 0, { fail: "error" }),
  "webhook-delivery.delivered": async (client) => `${await submitWithWebhook(client, 0)}/webhook`,
  "webhook-delivery.retried": async (client) => `${await submitWithWebhook(client, 2)}/webhook`,
  "webhook-delivery.used-up": async (client) => `${await submitWithWebhook(client, 100)}/webhook`,
  // `sent-away-before-asking` was recorded on this path before such a delivery asked for capacity.
  "webhook-delivery.sent-away": refuseForCapacity,
  "retention.nothing": () => startWorkflow("retention", { sweep: "expired", kind: 0, deleted: {} }),
  "retention.orphans": () => startWorkflow("retention", { sweep: "orphans", kind: 0, deleted: {} }),
  "retention.steps": async (client) => {
    await client.admin("PUT", "/v1/tempera/retention/owners/admin", { request_seconds: 1 });
    for (let i = 0; i < 3; i++) for await (const _ of client.follow(STUB, await submit(client, {})));
    await new Promise((next) => setTimeout(next, 1_500));
    const id = await startWorkflow("retention", { sweep: "expired", kind: 0, deleted: {} });
    await temporal.workflow.getHandle(id).result();
    await client.admin("PUT", "/v1/tempera/retention/owners/admin", {});
    return id;
  },
  "usage-reconciliation.checked": () =>
    startWorkflow("usageReconciliation", { windowMs: 3_600_000, lagMs: 0 }),
  // Sequential nodes, parallel nodes, a value that is too large to travel inline, and a pipeline as a node.
  "pipeline.success": (client) =>
    submitPipeline(client, [
      [{ prompt: "a" }],
      [{ prompt: "b" }, { prompt: "c" }],
      [{ payload: "x".repeat(40_000) }, { stages: [[{ prompt: "d" }]] }],
    ]),
  "pipeline.retry": (client) =>
    submitPipeline(client, [[{ prompt: "a" }], [{ fail: "crash", fail_attempts: 1 }]]),
  // The second attempt of the node continues from the checkpoint of the first one.
  "pipeline.resume": (client) =>
    submitPipeline(client, [
      [{ prompt: "a" }],
      [{ fail: "crash", fail_attempts: 1, fail_step: 5, steps: 8, delay_ms: 800 }],
    ]),
  "pipeline.handed-over": async (client) => {
    const id = await submitPipeline(client, [[{ delay_ms: 6_000, steps: 6 }]]);
    const [node = ""] = await pendingNodes(id, 1);
    await running(client, node);
    await drainAndResume(client, STUB, node);
    return id;
  },
  "pipeline.failure": (client) =>
    submitPipeline(client, [
      [{ prompt: "a" }, { delay_ms: 60_000, steps: 600 }, { fail: "error", delay_ms: 500 }],
    ]),
  "pipeline.refused-node": (client) =>
    submitPipeline(client, [[{ steps: "many" }, { stages: "none" as never }]]),
  "pipeline.exhausted": (client) =>
    submitPipeline(client, [[{ stages: [[{ fail: "crash" }]] }]], { "x-fal-no-retry": "1" }),
  "pipeline.node-limit": (client) =>
    submitPipeline(client, [Array.from({ length: LIMITS.pipelineNodesMax + 1 }, () => ({}))]),
  "pipeline.cancel": async (client) => {
    const id = await submitPipeline(client, [
      [{ delay_ms: 60_000, steps: 600 }, { stages: [[{ delay_ms: 60_000, steps: 600 }]] }],
    ]);
    await pendingNodes(id, 2);
    await client.cancel(PIPELINE, id);
    return id;
  },
  "pipeline.cancel-node": async (client) => {
    const id = await submitPipeline(client, [[{ delay_ms: 60_000, steps: 600 }]]);
    const [node = ""] = await pendingNodes(id, 1);
    await client.cancel(STUB, node);
    return id;
  },
  // Nodes in the pipeline's slot, in one that was granted at once, and in one that a node waited for.
  "pipeline.node-slots": async (client) => {
    await setSlots(client, 3);
    const blocker = await submit(client, { delay_ms: 60_000, steps: 600 });
    await running(client, blocker);
    const id = await submitPipeline(client, [
      [{ delay_ms: 6_000, steps: 60 }, { delay_ms: 6_000, steps: 60 }, { prompt: "waits" }],
      [{ stages: [[{ prompt: "a" }, { prompt: "b" }]] }, { prompt: "c" }],
    ]);
    await waitingForSlots(id, 3);
    await client.cancel(STUB, blocker);
    for await (const _ of client.follow(PIPELINE, id));
    await setSlots(client, null);
    return id;
  },
  // The pipeline of another pipeline's node, whose nodes hand its slot on.
  "pipeline.node-slots-nested": async (client) => {
    await setSlots(client, 1);
    const id = await submitPipeline(client, [
      [{ stages: [[{ delay_ms: 2_000 }, { prompt: "b" }, { prompt: "c" }]] }],
    ]);
    let child: string | null | undefined;
    while (!child) {
      const { raw } = await temporal.workflow.getHandle(id).describe();
      child = raw.pendingChildren?.[0]?.workflowId;
    }
    for await (const _ of client.follow(PIPELINE, id));
    await setSlots(client, null);
    return child;
  },
  "pipeline.node-slots-cancelled": async (client) => {
    await setSlots(client, 1);
    const id = await submitPipeline(client, [
      [{ delay_ms: 60_000, steps: 600 }, { prompt: "waits" }, { prompt: "waits too" }],
    ]);
    await waitingForSlots(id, 3);
    await client.cancel(PIPELINE, id);
    for await (const _ of client.follow(PIPELINE, id));
    await setSlots(client, null);
    return id;
  },
  "cancel-running": async (client) => {
    const id = await submit(client, { delay_ms: 60_000, steps: 600 });
    await running(client, id);
    await client.cancel(STUB, id);
    return id;
  },
  "waited-for-slot": async (client) => {
    await setSlots(client, 1);
    const blocker = await submit(client, { delay_ms: 60_000, steps: 600 });
    await running(client, blocker);
    const id = await submit(client, {});
    await waitingForSlots(id, 1);
    await client.cancel(STUB, blocker);
    for await (const _ of client.follow(STUB, id));
    await setSlots(client, null);
    return id;
  },
  "start-timeout": async (client) => {
    const blockers = await Promise.all(
      Array.from({ length: 64 }, () => submit(client, { delay_ms: 60_000 })),
    );
    await Promise.all(blockers.map((id) => running(client, id)));
    const id = await submit(client, {}, { "x-fal-request-timeout": "1" });
    for await (const _ of client.follow(STUB, id));
    await Promise.all(blockers.map((blocker) => client.cancel(STUB, blocker)));
    return id;
  },
  "cancel-waiting": async (client) => {
    const blockers = await Promise.all(
      Array.from({ length: 64 }, () => submit(client, { delay_ms: 60_000 })),
    );
    await Promise.all(blockers.map((id) => running(client, id)));
    const id = await submit(client, {});
    await client.cancel(STUB, id);
    for await (const _ of client.follow(STUB, id));
    await Promise.all(blockers.map((blocker) => client.cancel(STUB, blocker)));
    return id;
  },
};

// Makes a small sweep take more than one step.
Object.assign(LIMITS, { retentionStepMs: 1 });

const folder = await mkdtemp(join(tmpdir(), "tempera-record-"));
const config = loadConfig({
  TEMPERA_PORT: String(await freePort()),
  TEMPERA_ADMIN_PORT: "0",
  TEMPERA_TEMPORAL_PORT: String(await freePort()),
  TEMPERA_TEMPORAL_UI_PORT: String(await freePort()),
  TEMPERA_POSTGRES_PORT: String(await freePort()),
  TEMPERA_DATA: folder,
  TEMPERA_LOG_LEVEL: "error",
  TEMPERA_WORKER_NAME: "worker",
  TEMPERA_GRACE_SECONDS: "0.5",
  TEMPERA_TEST_MODELS: "true",
  TEMPERA_ENGINE_CRASHES_OF_OWNER: "1000",
  TEMPERA_WORKER_MODELS: STUB,
  TEMPERA_ALLOW_PRIVATE_ADDRESSES: "127.0.0.0/8",
  TEMPERA_WEBHOOK_DELAYS: "0.2,0.2",
  TEMPERA_RESULT_WAIT_SECONDS: "0",
  TEMPERA_STORE_WAIT_SECONDS: "3",
});
const platform = await startPlatform(config, createLogger(config.log, "record"), () => {});
const connection = await Connection.connect({ address: `127.0.0.1:${config.temporal.port}` });
const temporal = new Client({ connection, namespace: config.temporal.namespace });
try {
  const client = createPlatformClient(platform);
  const selected = process.argv.slice(2);
  for (const [name, path] of Object.entries(PATHS)) {
    if (selected.length > 0 && !selected.includes(name)) continue;
    const id = await path(client);
    if (!id.includes("/")) for await (const _ of client.follow(STUB, id));
    const handle = temporal.workflow.getHandle(id);
    // The delivery of a webhook starts after its request has ended.
    while (
      await handle.result().then(
        () => false,
        (error) => error instanceof WorkflowNotFoundError,
      )
    );
    await saveHistory(config.temporal, id, name.includes(".") ? name : `inference-job.${name}`);
  }
} finally {
  await connection.close();
  await platform.stop();
  receiver.close();
  await rm(folder, { recursive: true, force: true });
}

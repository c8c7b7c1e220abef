/**
 * Records the histories that `replay.test.ts` replays: `node --import tsx tests/replay/record-histories.ts
 * [name …]`.
 *
 * A recorded history is never recorded again to make a test pass: it stands for jobs that are running
 * somewhere. Record new names for new paths; a change that breaks an old one needs `patched()`.
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Client, Connection, WorkflowNotFoundError } from "@temporalio/client";
import { startPlatform } from "../../src/bin/platform.ts";
import { createPlatformClient, type PlatformClient } from "../../src/cli/platform-client.ts";
import { loadConfig } from "../../src/config/load-config.ts";
import { createLogger } from "../../src/config/logger.ts";
import { ORCHESTRATOR_QUEUE } from "../../src/core/requests/job.ts";
import { LIMITS } from "../../src/core/limits.ts";
import { freePort } from "../../src/dev/services/port.ts";
import { findProgram } from "../../src/dev/services/program.ts";
import { TEMPORAL_CLI } from "../../src/dev/services/temporal.ts";

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

/** Drains the GPU worker until it has let go of a request, then lets it serve again. */
async function drainAndResume(client: PlatformClient, endpoint: string, id: string): Promise<void> {
  await client.admin("POST", "/v1/tempera/workers/worker/drain");
  for await (const { logs } of client.follow(endpoint, id))
    if (logs?.some(({ message }) => message.startsWith("Attempt 1 failed"))) break;
  await client.admin("POST", "/v1/tempera/workers/worker/resume");
}

/** A webhook receiver that refuses as many deliveries as the address says. */
const receiver = createServer((incoming, response) => {
  const address = new URL(incoming.url ?? "/", "http://receiver");
  const refuse = Number(address.searchParams.get("refuse"));
  const seen = (deliveries.get(address.pathname) ?? 0) + 1;
  deliveries.set(address.pathname, seen);
  response.writeHead(seen > refuse ? 200 : 500).end();
});
const deliveries = new Map<string, number>();
await new Promise<void>((open) => receiver.listen(0, "127.0.0.1", open));
let hooks = 0;
/** Submits a job whose webhook is refused so many times; returns its request id once it has ended. */
async function hooked(client: PlatformClient, refuse: number, input: object = {}): Promise<string> {
  const { port } = receiver.address() as { port: number };
  const hook = `http://127.0.0.1:${port}/${++hooks}?refuse=${refuse}`;
  const id = await submit(client, input, {}, `?fal_webhook=${encodeURIComponent(hook)}`);
  for await (const _ of client.follow(STUB, id));
  return id;
}

/** Starts a workflow of the orchestrator's own; returns its id. */
async function started(workflowType: string, argument: object): Promise<string> {
  const workflowId = `recorded/${++hooks}`;
  await temporal.workflow.start(workflowType, {
    workflowId,
    taskQueue: ORCHESTRATOR_QUEUE,
    args: [argument],
  });
  return workflowId;
}

/**
 * A receiver that answers nobody until one of them has been sent away: a webhook beyond what goes to one host
 * at once.
 */
async function sentAway(client: PlatformClient): Promise<string> {
  const held: ServerResponse[] = [];
  const slow = createServer((_incoming, response) => void held.push(response));
  await new Promise<void>((open) => slow.listen(0, "127.0.0.1", open));
  const { port } = slow.address() as { port: number };
  const beyond = LIMITS.webhookHostInFlightMax + LIMITS.webhookHostWaitingMax + 1;
  const hook = encodeURIComponent(`http://127.0.0.1:${port}/`);
  const ids = await Promise.all(
    Array.from({ length: beyond }, () => submit(client, {}, {}, `?fal_webhook=${hook}`)),
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

/** The activities and child workflows of a pipeline, once there are so many. */
async function begun(id: string, count: number): Promise<string[]> {
  for (;;) {
    const { raw } = await temporal.workflow.getHandle(id).describe();
    const nodes = [
      ...(raw.pendingActivities ?? []).map(({ activityId }) => activityId ?? ""),
      ...(raw.pendingChildren ?? []).map(({ workflowId }) => workflowId ?? ""),
    ];
    if (nodes.length >= count) return nodes;
  }
}

/**
 * Each makes one workflow take one path and returns its id; files are called by the workflow type,
 * `inference-job` when the name has none.
 */
const PATHS: Record<string, (client: PlatformClient) => Promise<string>> = {
  success: (client) => submit(client, { prompt: "hello" }),
  "recorded-by-worker": (client) => submit(client, { prompt: "hello" }),
  retry: (client) => submit(client, { fail: "crash", fail_attempts: 1 }),
  // The worker lets go of it, and takes it again as another activity.
  "handed-over": async (client) => {
    const id = await submit(client, { delay_ms: 6_000, steps: 6 });
    await running(client, id);
    await drainAndResume(client, STUB, id);
    return id;
  },
  failure: (client) => submit(client, { fail: "error" }),
  exhausted: (client) => submit(client, { fail: "crash" }, { "x-fal-no-retry": "1" }),
  webhook: (client) => hooked(client, 0),
  "webhook-failure": (client) => hooked(client, 0, { fail: "error" }),
  "webhook-delivery.delivered": async (client) => `${await hooked(client, 0)}/webhook`,
  "webhook-delivery.retried": async (client) => `${await hooked(client, 2)}/webhook`,
  "webhook-delivery.used-up": async (client) => `${await hooked(client, 100)}/webhook`,
  // `sent-away-before-asking` was recorded on this path when such a delivery did not ask for room yet.
  "webhook-delivery.sent-away": sentAway,
  "retention.nothing": () => started("retention", { sweep: "expired", kind: 0, deleted: {} }),
  "retention.orphans": () => started("retention", { sweep: "orphans", kind: 0, deleted: {} }),
  "retention.steps": async (client) => {
    await client.admin("PUT", "/v1/tempera/retention/owners/admin", { request_seconds: 1 });
    for (let i = 0; i < 3; i++) for await (const _ of client.follow(STUB, await submit(client, {})));
    await new Promise((next) => setTimeout(next, 1_500));
    const id = await started("retention", { sweep: "expired", kind: 0, deleted: {} });
    await temporal.workflow.getHandle(id).result();
    await client.admin("PUT", "/v1/tempera/retention/owners/admin", {});
    return id;
  },
  "usage-reconciliation.checked": () => started("usageReconciliation", { windowMs: 3_600_000, lagMs: 0 }),
  // Sequential nodes, nodes side by side, a value too big to travel, and a pipeline as a node.
  "pipeline.success": (client) =>
    submitPipeline(client, [
      [{ prompt: "a" }],
      [{ prompt: "b" }, { prompt: "c" }],
      [{ payload: "x".repeat(40_000) }, { stages: [[{ prompt: "d" }]] }],
    ]),
  "pipeline.retry": (client) =>
    submitPipeline(client, [[{ prompt: "a" }], [{ fail: "crash", fail_attempts: 1 }]]),
  // The second attempt of the node goes on from the state that the first one kept after its third step.
  "pipeline.resume": (client) =>
    submitPipeline(client, [
      [{ prompt: "a" }],
      [{ fail: "crash", fail_attempts: 1, fail_step: 5, steps: 8, delay_ms: 800 }],
    ]),
  "pipeline.handed-over": async (client) => {
    const id = await submitPipeline(client, [[{ delay_ms: 6_000, steps: 6 }]]);
    const [node = ""] = await begun(id, 1);
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
    await begun(id, 2);
    await client.cancel(PIPELINE, id);
    return id;
  },
  "pipeline.cancel-node": async (client) => {
    const id = await submitPipeline(client, [[{ delay_ms: 60_000, steps: 600 }]]);
    const [node = ""] = await begun(id, 1);
    await client.cancel(STUB, node);
    return id;
  },
  "cancel-running": async (client) => {
    const id = await submit(client, { delay_ms: 60_000, steps: 600 });
    await running(client, id);
    await client.cancel(STUB, id);
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

// So that a sweep of little takes more than one step.
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
  TEMPERA_WORKER_MODELS: STUB,
  TEMPERA_ALLOW_PRIVATE_ADDRESSES: "127.0.0.0/8",
  TEMPERA_WEBHOOK_DELAYS: "0.2,0.2",
});
const platform = await startPlatform(config, createLogger(config.log, "record"), () => {});
const connection = await Connection.connect({ address: `127.0.0.1:${config.temporal.port}` });
const temporal = new Client({ connection, namespace: config.temporal.namespace });
try {
  const client = createPlatformClient(platform);
  const temporalCli = await findProgram(TEMPORAL_CLI, { log: () => {} });
  const wanted = process.argv.slice(2);
  for (const [name, path] of Object.entries(PATHS)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    const id = await path(client);
    if (!id.includes("/")) for await (const _ of client.follow(STUB, id));
    const handle = temporal.workflow.getHandle(id);
    // A delivery is started after its request has ended.
    while (
      await handle.result().then(
        () => false,
        (error) => error instanceof WorkflowNotFoundError,
      )
    );
    const place = [
      "--address",
      `127.0.0.1:${config.temporal.port}`,
      "--namespace",
      config.temporal.namespace,
    ];
    const { stdout } = await promisify(execFile)(temporalCli, [
      "workflow",
      "show",
      "-w",
      id,
      "-o",
      "json",
      ...place,
    ]);
    const history = JSON.parse(stdout, (key, value) => {
      if (key === "identity") return "tempera";
      // Stack traces name the machine they were made on, and replay does not look at them.
      return key === "stackTrace" ? "" : value;
    });
    await writeFile(
      join(import.meta.dirname, "histories", `${name.includes(".") ? name : `inference-job.${name}`}.json`),
      `${JSON.stringify(history, null, 1)}\n`,
    );
    process.stdout.write(`${name}: ${history.events.length} events\n`);
  }
} finally {
  await connection.close();
  await platform.stop();
  receiver.close();
  await rm(folder, { recursive: true, force: true });
}

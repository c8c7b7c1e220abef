/**
 * Records the histories of `realtimeSession`, as `record-histories.ts` records those of jobs:
 * `node --import tsx tests/replay/record-sessions.ts [name …]`. A recorded history is never recorded again.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encode } from "@msgpack/msgpack";
import { Client, Connection } from "@temporalio/client";
import { createSessions } from "../../src/adapters/temporal/sessions.ts";
import { startPlatform } from "../../src/bin/platform.ts";
import { loadConfig } from "../../src/config/load-config.ts";
import { createLogger } from "../../src/config/logger.ts";
import { newRequestId } from "../../src/core/requests/request-id.ts";
import type { SessionSpec } from "../../src/core/requests/session.ts";
import { freePort } from "../../src/dev/services/port.ts";
import { openSocket } from "../integration/sockets.ts";
import { saveHistory } from "./save-history.ts";

const STUB = "tempera/stub";
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
  TEMPERA_TEST_MODELS: "true",
  TEMPERA_ENGINE_CRASHES_OF_OWNER: "1000",
  TEMPERA_WORKER_MODELS: STUB,
});
const platform = await startPlatform(config, createLogger(config.log, "record"), () => {});
const connection = await Connection.connect({ address: `127.0.0.1:${config.temporal.port}` });
const temporal = new Client({ connection, namespace: config.temporal.namespace });
const sessions = createSessions(temporal);

/** Returns a session on a task queue without workers. */
const unserved = (startMs: number): SessionSpec => ({
  sessionId: newRequestId(),
  ownerId: "admin",
  keyId: "00000000-0000-4000-8000-000000000000",
  endpoint: STUB,
  version: "1.0.0",
  modelDigest: "",
  taskQueue: "gpu/tempera/nobody/1.0.0",
  path: "/realtime",
  raw: false,
  startMs,
  sessionMs: 60_000,
  heartbeatMs: 3_000,
  pulseMs: 2_000,
  silenceMs: 15_000,
  retry: { attemptsMax: 10, initialMs: 200, backoff: 2, maximumMs: 2_000 },
});

/** Sends inputs on a new socket, each after the output of the one before. Returns the session's id. */
async function session(inputs: { input: object; until: string }[]): Promise<string> {
  const socket = await openSocket(`ws://127.0.0.1:${config.server.port}/${STUB}/realtime`, {
    headers: { authorization: `Key ${platform.key}` },
  });
  for (const { input, until } of inputs) {
    socket.send(encode(input));
    while (!String(await socket.next()).includes(until));
  }
  await socket[Symbol.asyncDispose]();
  for (;;) {
    for await (const { workflowId } of temporal.workflow.list({
      query: "WorkflowType = 'realtimeSession'",
    })) {
      if (!recorded.has(workflowId)) return workflowId;
    }
  }
}

/** Each function makes one session take one path and returns its id. */
const PATHS: Record<string, () => Promise<string>> = {
  closed: () => session([{ input: { prompt: "hello" }, until: "hello" }]),
  retry: () =>
    session([
      { input: { fail: "crash", fail_attempts: 1 }, until: "resumed" },
      { input: { prompt: "hello" }, until: "hello" },
    ]),
  "start-timeout": async () => {
    const spec = unserved(500);
    await sessions.start(spec);
    return spec.sessionId;
  },
  "cancel-waiting": async () => {
    const spec = unserved(60_000);
    await sessions.start(spec);
    const handle = temporal.workflow.getHandle(spec.sessionId);
    while (!(await handle.describe()).raw.pendingActivities?.length);
    await sessions.cancel(spec.sessionId);
    return spec.sessionId;
  },
};

const recorded = new Set<string>();
try {
  const selected = process.argv.slice(2);
  for (const [name, path] of Object.entries(PATHS)) {
    if (selected.length > 0 && !selected.includes(name)) continue;
    const id = await path();
    recorded.add(id);
    await temporal.workflow
      .getHandle(id)
      .result()
      .catch(() => {});
    await saveHistory(config.temporal, id, `realtime-session.${name}`);
  }
} finally {
  await connection.close();
  await platform.stop();
  await rm(folder, { recursive: true, force: true });
}

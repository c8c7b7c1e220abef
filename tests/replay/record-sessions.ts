/**
 * Records the histories of `realtimeSession`, as `record-histories.ts` does those of jobs:
 * `node --import tsx tests/replay/record-sessions.ts [name …]`. What is recorded is never recorded again.
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { encode } from "@msgpack/msgpack";
import { Client, Connection } from "@temporalio/client";
import { createSessions } from "../../src/adapters/temporal/sessions.ts";
import { startPlatform } from "../../src/bin/platform.ts";
import { loadConfig } from "../../src/config/load-config.ts";
import { createLogger } from "../../src/config/logger.ts";
import { newRequestId } from "../../src/core/requests/request-id.ts";
import type { SessionSpec } from "../../src/core/requests/session.ts";
import { freePort } from "../../src/dev/services/port.ts";
import { findProgram } from "../../src/dev/services/program.ts";
import { TEMPORAL_CLI } from "../../src/dev/services/temporal.ts";
import { openSocket } from "../integration/sockets.ts";

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
  TEMPERA_WORKER_MODELS: STUB,
});
const platform = await startPlatform(config, createLogger(config.log, "record"), () => {});
const connection = await Connection.connect({ address: `127.0.0.1:${config.temporal.port}` });
const temporal = new Client({ connection, namespace: config.temporal.namespace });
const sessions = createSessions(temporal);

/** A session on a queue that nobody polls. */
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

/** Sends inputs on a socket of its own, each after the answer to the one before; returns the session's id. */
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

/** Each makes one session take one path and returns its id. */
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
  const temporalCli = await findProgram(TEMPORAL_CLI, { log: () => {} });
  const wanted = process.argv.slice(2);
  for (const [name, path] of Object.entries(PATHS)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    const id = await path();
    recorded.add(id);
    await temporal.workflow
      .getHandle(id)
      .result()
      .catch(() => {});
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
      join(import.meta.dirname, "histories", `realtime-session.${name}.json`),
      `${JSON.stringify(history, null, 1)}\n`,
    );
    process.stdout.write(`${name}: ${history.events.length} events\n`);
  }
} finally {
  await connection.close();
  await platform.stop();
  await rm(folder, { recursive: true, force: true });
}

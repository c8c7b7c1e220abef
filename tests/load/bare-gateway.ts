/**
 * A minimal gateway on Temporal: a Hono route that starts the bare workflow and replies with its id; no key,
 * no check, no record.
 */
import { randomUUID } from "node:crypto";
import { serve } from "@hono/node-server";
import { Client, Connection } from "@temporalio/client";
import { Hono } from "hono";

const connection = await Connection.connect({ address: process.env.TEMPORAL_ADDRESS ?? "" });
const client = new Client({ connection, namespace: process.env.TEMPORAL_NAMESPACE ?? "tempera" });
const app = new Hono();
app.post("/submit", async (c) => {
  const input = await c.req.json();
  const startedAtMs = performance.now();
  const { workflowId } = await client.workflow.start("bare", {
    taskQueue: "bare",
    workflowId: randomUUID(),
    args: [input],
  });
  return c.json({ id: workflowId, start_ms: performance.now() - startedAtMs });
});
const server = serve({ fetch: app.fetch, hostname: "127.0.0.1", port: Number(process.env.PORT) }, () =>
  process.stdout.write("ready\n"),
);
process.on("SIGTERM", () => {
  server.close();
  void connection.close();
});

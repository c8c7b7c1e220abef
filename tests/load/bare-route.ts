/**
 * A minimal status read: a Hono route that does one HGETALL and replies with a body of the same size.
 */
import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { Redis } from "ioredis";

const redis = new Redis(process.env.REDIS_URL ?? "", { enableAutoPipelining: true });
const filler = "x".repeat(Number(process.env.BODY_BYTES ?? 0));
const app = new Hono();
app.get("/status/:id", async (c) => {
  const fields = await redis.hgetall(c.req.param("id"));
  return c.json({ state: fields.state, filler });
});
const server = serve({ fetch: app.fetch, hostname: "127.0.0.1", port: Number(process.env.PORT) }, () =>
  process.stdout.write("ready\n"),
);
process.on("SIGTERM", () => {
  server.close();
  redis.disconnect();
});

import { expect, it, onTestFinished } from "vitest";
import { ProcessHealth } from "../../core/operations/process-health.ts";
import { ServiceHealth } from "../../core/operations/service-health.ts";
import { type HealthPortOptions, openHealthPort } from "./health-port.ts";

const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** Opens a port, which is closed after the test. */
async function open({ role, port }: Pick<HealthPortOptions, "role" | "port">) {
  const clock = { nowMs: () => 0 };
  const process = new ProcessHealth({ services: new ServiceHealth({ clock }), version: "1.2.3", clock });
  const server = await openHealthPort({
    role,
    port,
    health: process.role(role),
    host: "127.0.0.1",
    log: silent,
  });
  if (server) onTestFinished(() => server.stop(0));
  return server;
}

it("answers on the configured port, and refuses one that is in use", async () => {
  const server = await open({ role: "gateway", port: 0 });
  const port = server?.port ?? 0;
  expect((await fetch(`http://127.0.0.1:${port}/health/live`)).status).toBe(200);
  expect((await fetch(`http://127.0.0.1:${port}/health/ready`)).status).toBe(503);
  await expect(open({ role: "gateway", port })).rejects.toThrow(/in use; .* TEMPERA_HEALTH_PORT/);
});

it("gives two GPU workers of one machine a port each", async () => {
  const ports = [
    (await open({ role: "gpu-worker", port: undefined }))?.port ?? 0,
    (await open({ role: "gpu-worker", port: undefined }))?.port ?? 0,
  ];
  for (const port of ports)
    expect(await (await fetch(`http://127.0.0.1:${port}/health`)).json()).toMatchObject({
      role: "gpu-worker",
    });
  expect(new Set(ports).size).toBe(2);
});

it.each(["gateway", "admin"] as const)("opens none for a role that has a port: %s", async (role) => {
  expect(await open({ role, port: undefined })).toBeUndefined();
});

import { Readable } from "node:stream";
import { expect, it } from "vitest";
import type { ObjectStore } from "../core/files/object-store.ts";
import { systemClock } from "../core/operations/clock.ts";
import { ProcessHealth } from "../core/operations/process-health.ts";
import { ServiceHealth } from "../core/operations/service-health.ts";
import { createWaitingAdmin } from "./admin/waiting-admin.ts";
import { createWaitingGateway } from "./waiting-gateway.ts";

const ARTIFACT = `ab/${"ab".repeat(32)}.png`;
const services = new ServiceHealth({ clock: systemClock });
const health = new ProcessHealth({ services, version: "1", clock: systemClock });
const log = { debug() {}, info() {}, warn() {}, error() {} };
const objects = {
  head: async (key: string) =>
    key === `artifacts/${ARTIFACT}` ? { bytes: 3, contentType: "image/png" } : undefined,
  get: async () => ({
    info: { bytes: 3, contentType: "image/png" },
    body: Readable.from([Buffer.from("abc")]),
  }),
} as Partial<ObjectStore> as ObjectStore;
const gateway = createWaitingGateway({ objects, health: health.role("gateway"), log, trustProxy: false });
const admin = createWaitingAdmin({ health: health.role("admin") });

it.each([gateway, admin])("answers health, and that it is not ready", async (app) => {
  expect((await app.request("/health/live")).status).toBe(200);
  expect((await app.request("/health/ready")).status).toBe(503);
});

it.each([
  ["POST", "/queue/tempera/stub"],
  ["GET", "/queue/tempera/stub/requests/1/status"],
  ["POST", "/tempera/stub/stream"],
  ["POST", "/files/upload"],
  ["POST", `/files/${ARTIFACT}/sign`],
  ["GET", "/files/019a0000-0000-7000-8000-000000000000/a.png"],
  ["GET", "/.well-known/jwks.json"],
])("refuses %s %s by name of what is missing, with a time to retry", async (method, path) => {
  const answer = await gateway.request(path, { method });
  expect(answer.status).toBe(503);
  expect(answer.headers.get("retry-after")).toBe("2");
  expect(await answer.json()).toMatchObject({ detail: expect.stringContaining("PostgreSQL") });
});

it("serves an artifact, whose address is its secret", async () => {
  const answer = await gateway.request(`/files/${ARTIFACT}`, { headers: { origin: "https://a.example" } });
  expect(answer.status).toBe(200);
  expect(await answer.text()).toBe("abc");
  expect(answer.headers.get("access-control-allow-origin")).toBe("*");
  expect((await gateway.request(`/files/${ARTIFACT}`, { method: "HEAD" })).status).toBe(200);
});

it("serves an artifact on the host name of the files only, when there is one", async () => {
  const filesUrl = "https://files.example.com";
  const apart = createWaitingGateway({
    objects,
    health: health.role("gateway"),
    log,
    trustProxy: false,
    filesUrl,
  });
  expect((await apart.request(`${filesUrl}/files/${ARTIFACT}`)).status).toBe(200);
  expect((await apart.request(`${filesUrl}/health/live`)).status).toBe(421);
  const sent = await apart.request(`https://api.example.com/files/${ARTIFACT}`);
  expect([sent.status, sent.headers.get("location")]).toEqual([307, `${filesUrl}/files/${ARTIFACT}`]);
});

it("refuses calls of the admin service in its own form", async () => {
  const answer = await admin.request("/v1/keys");
  expect(answer.status).toBe(503);
  expect(answer.headers.get("retry-after")).toBe("2");
  expect(await answer.json()).toMatchObject({
    error: {
      type: "server_error",
      code: "store_unavailable",
      message: expect.stringContaining("PostgreSQL"),
    },
  });
});

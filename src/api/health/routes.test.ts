import { describe, expect, it } from "vitest";
import { ProcessHealth } from "../../core/operations/process-health.ts";
import { ServiceHealth } from "../../core/operations/service-health.ts";
import { createHealthService, HEALTH_PATHS } from "./routes.ts";

const START_MS = Date.parse("2026-01-01T00:00:00Z");

function scene() {
  const time = { nowMs: START_MS };
  const clock = { nowMs: () => time.nowMs };
  const services = new ServiceHealth({ clock });
  const health = new ProcessHealth({ services, version: "1.2.3", clock }).role("gpu-worker");
  const silent = { debug() {}, info() {}, warn() {}, error() {} };
  const app = createHealthService({ health, log: silent });
  const get = async (path: string) => {
    const response = await app.request(path);
    return { status: response.status, body: await response.json() };
  };
  return { app, get, time, services, health };
}

describe("/health/live", () => {
  it("is 200 whatever the services and the phase", async () => {
    const { get, services, health } = scene();
    for (const service of ["postgres", "temporal", "redis", "objects"] as const)
      services.report(service, "away");
    health.enter("draining");
    expect(await get("/health/live")).toEqual({ status: 200, body: { status: "live" } });
  });
});

describe("/health/ready", () => {
  it("is 503 with the reason while the role starts and drains, and 200 between", async () => {
    const { get, health } = scene();
    expect(await get("/health/ready")).toEqual({
      status: 503,
      body: { status: "unready", reason: "It is starting." },
    });
    health.enter("serving");
    expect(await get("/health/ready")).toEqual({ status: 200, body: { status: "ready" } });
    health.enter("draining");
    expect(await get("/health/ready")).toEqual({
      status: 503,
      body: { status: "unready", reason: "It is draining." },
    });
  });

  it("is 503 while a service that the role cannot do without is away", async () => {
    const { get, health, services } = scene();
    health.enter("serving");
    services.report("temporal", "away", "refuses connections");
    expect((await get("/health/ready")).status).toBe(503);
    services.report("temporal", "up");
    expect((await get("/health/ready")).status).toBe(200);
  });
});

describe("/health", () => {
  it("reports each service with its state, since when and why", async () => {
    const { get, time, health, services } = scene();
    health.enter("serving");
    services.report("postgres", "up");
    time.nowMs += 60_000;
    services.report("redis", "full", "Redis has no memory left (OOM).");
    time.nowMs += 5_000;
    expect(await get("/health")).toEqual({
      status: 200,
      body: {
        status: "degraded",
        role: "gpu-worker",
        version: "1.2.3",
        phase: "serving",
        started_at: "2026-01-01T00:00:00.000Z",
        uptime_seconds: 65,
        services: [
          { service: "postgres", state: "up", since: "2026-01-01T00:00:00.000Z", for_seconds: 65 },
          {
            service: "redis",
            state: "full",
            since: "2026-01-01T00:01:00.000Z",
            for_seconds: 5,
            detail: "Redis has no memory left (OOM).",
          },
        ],
      },
    });
  });

  it("says ok when all is well, and unready with the reason when the role should get no work", async () => {
    const { get, health, services } = scene();
    services.report("temporal", "up");
    health.enter("serving");
    expect((await get("/health")).body).toMatchObject({ status: "ok" });
    health.noteDrained(true);
    const { status, body } = await get("/health");
    expect([status, body]).toMatchObject([
      200,
      { status: "unready", reason: "An operator has drained it.", phase: "drained" },
    ]);
  });

  it("gives no negative time when the clock was set back", async () => {
    const { get, time, services } = scene();
    services.report("postgres", "up");
    time.nowMs -= 10_000;
    expect((await get("/health")).body).toMatchObject({ uptime_seconds: 0, services: [{ for_seconds: 0 }] });
  });
});

describe.each(HEALTH_PATHS)("%s", (path) => {
  it("answers HEAD as GET, without a body, and is stored by no cache", async () => {
    const { app } = scene();
    const get = await app.request(path);
    const head = await app.request(path, { method: "HEAD" });
    expect([head.status, await head.text()]).toEqual([get.status, ""]);
    for (const answer of [get, head]) expect(answer.headers.get("cache-control")).toBe("no-store");
  });

  it("refuses other methods with 405", async () => {
    const response = await scene().app.request(path, { method: "POST" });
    expect([response.status, response.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
  });
});

it("answers 404 to other paths, as JSON", async () => {
  const response = await scene().app.request("/v1/keys");
  expect(response.status).toBe(404);
  expect(response.headers.get("content-type")).toMatch(/json/);
});

/**
 * Health for probes and people: `GET /health/live`, `/health/ready` and `/health`, the same on every role.
 * No key is needed. No answer waits for a service, since it tells what is known already.
 */
import { type Context, type Env, Hono } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { Log } from "../../core/operations/log.ts";
import type { RoleHealth, RoleReport } from "../../core/operations/process-health.ts";
import type { ServiceReport, ServiceState } from "../../core/operations/service-health.ts";
import { answerError } from "../http/answer-error.ts";
import { answerJson } from "../http/answer-json.ts";
import { methodNotAllowed } from "../http/method-not-allowed.ts";

/** The paths of `addHealthRoutes`. */
export const HEALTH_PATHS = ["/health", "/health/live", "/health/ready"] as const;

/** The body of `GET /health`. */
export interface HealthView {
  /** `degraded`: takes work, although a service is not up. `unready`: should get none, for `reason`. */
  status: "ok" | "degraded" | "unready";
  reason?: string;
  role: string;
  version: string;
  phase: string;
  started_at: string;
  uptime_seconds: number;
  services: ServiceView[];
}

interface ServiceView {
  service: string;
  state: ServiceState;
  /** When this state began. */
  since: string;
  /** The same as the time until now. */
  for_seconds: number;
  detail?: string;
}

/**
 * Adds the three routes. `/health/live` is 200 while the process works, and `/health/ready` is 503 while it
 * should get no work. `/health` is 200 with the whole report in any case.
 */
export function addHealthRoutes<E extends Env>(app: Hono<E>, { health }: { health: RoleHealth }): void {
  app.get("/health/live", (c) => answerJson(c, { status: "live" }));
  app.get("/health/ready", (c) => {
    const { unready } = health.report();
    if (unready === undefined) return answerJson(c, { status: "ready" });
    return answerJson(c, { status: "unready", reason: unready }, 503);
  });
  app.get("/health", (c) => answerJson(c, healthView(health.report())));
}

/** Creates the HTTP service of a role that has no other one. */
export function createHealthService(dependencies: { health: RoleHealth; log: Log }): Hono {
  const app = new Hono({ strict: false });
  addHealthRoutes(app, dependencies);
  for (const path of HEALTH_PATHS) app.all(path, methodNotAllowed(dependencies, "GET, HEAD"));
  app.notFound((c: Context) => answerError(c, new TemperaError("path_unknown"), dependencies));
  app.onError((error, c) => answerError(c, error, dependencies));
  return app;
}

function healthView({ unready, services, startedAtMs, atMs, ...rest }: RoleReport): HealthView {
  const isWhole = services.every(({ state }) => state === "up");
  return {
    status: unready !== undefined ? "unready" : isWhole ? "ok" : "degraded",
    ...(unready !== undefined && { reason: unready }),
    ...{ role: rest.role, version: rest.version, phase: rest.phase },
    started_at: new Date(startedAtMs).toISOString(),
    uptime_seconds: secondsBetween(startedAtMs, atMs),
    services: services.map((report) => serviceView(report, atMs)),
  };
}

const serviceView = ({ service, state, sinceMs, detail }: ServiceReport, atMs: number): ServiceView => ({
  service,
  state,
  since: new Date(sinceMs).toISOString(),
  for_seconds: secondsBetween(sinceMs, atMs),
  ...(detail !== undefined && { detail }),
});

/** The time of day may have been set back meanwhile. */
const secondsBetween = (fromMs: number, toMs: number): number =>
  Math.max(0, Math.round((toMs - fromMs) / 1000));

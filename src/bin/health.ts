import { createHealthService } from "../api/health/routes.ts";
import { type HttpServer, listen } from "../api/http/listen.ts";
import type { Config } from "../config/settings.ts";
import type { Log } from "../core/operations/log.ts";
import type { RoleHealth, RoleName } from "../core/operations/process-health.ts";

/** The ports of roles that serve nothing else. Each gives way to a program that has it. */
const USUAL_PORTS: Partial<Record<RoleName, number>> = { orchestrator: 8082, "gpu-worker": 8083 };
/** Ports that are tried from the usual one on: a machine has a GPU worker for each of its GPUs. */
const PORTS_TRIED = 32;

/**
 * Opens the port of a role's health: `server.healthPort`, or the usual one of the role or the next free one.
 * It stays open until the process ends, so that a role can be watched while it drains.
 */
export async function openHealthPort(
  role: RoleName,
  health: RoleHealth,
  { server: { host, healthPort } }: Pick<Config, "server">,
  log: Log,
): Promise<HttpServer | undefined> {
  const app = createHealthService({ health, log });
  const open = async (port: number): Promise<HttpServer> => {
    const server = await listen(app, { host, port, name: "health", setting: "TEMPERA_HEALTH_PORT" });
    log.info({ port: server.port }, `the health of the ${role} is served`);
    return server;
  };
  if (healthPort !== undefined) return open(healthPort);
  const usual = USUAL_PORTS[role];
  if (usual === undefined) return undefined;
  for (let port = usual; port < usual + PORTS_TRIED; port++) {
    try {
      return await open(port);
    } catch (error) {
      if (!isTaken(error)) throw error;
    }
  }
  log.warn(
    {},
    `ports ${usual} to ${usual + PORTS_TRIED - 1} are in use; set TEMPERA_HEALTH_PORT to a free one`,
  );
  return undefined;
}

const isTaken = (error: unknown): boolean =>
  ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code === "EADDRINUSE";

import type { Log } from "../../core/operations/log.ts";
import type { RoleHealth, RoleName } from "../../core/operations/process-health.ts";
import { type HttpServer, listen } from "../http/listen.ts";
import { createHealthService } from "./routes.ts";

/** The ports of roles that serve nothing else. Each gives way to a program that has it. */
const USUAL_PORTS: Partial<Record<RoleName, number>> = { orchestrator: 8082, "gpu-worker": 8083 };
/** Ports that are tried from the usual one on: a machine has a GPU worker for each of its GPUs. */
const PORTS_TRIED = 32;

export interface HealthPortOptions {
  role: RoleName;
  health: RoleHealth;
  host: string;
  /** The configured port; absent: the usual one of the role, if it has one, or the next free one. */
  port: number | undefined;
  log: Log;
}

/**
 * Opens the port of a role's health. Resolves with `undefined` when the role has none. Rejects when the
 * configured port cannot be opened.
 */
export async function openHealthPort(options: HealthPortOptions): Promise<HttpServer | undefined> {
  const { role, health, host, port: configured, log } = options;
  const app = createHealthService({ health, log });
  const open = async (port: number): Promise<HttpServer> => {
    const server = await listen(app, { host, port, name: "health", setting: "TEMPERA_HEALTH_PORT" });
    log.info({ port: server.port }, `the health of the ${role} is served`);
    return server;
  };
  if (configured !== undefined) return open(configured);
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

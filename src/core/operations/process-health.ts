import type { Clock } from "./clock.ts";
import type { ServiceHealth, ServiceName, ServiceReport, ServiceState } from "./service-health.ts";

/** The four roles of Tempera, by the names of their programs. */
export type RoleName = "gateway" | "admin" | "orchestrator" | "gpu-worker";

/**
 * - `starting`: not ready for its first work yet
 * - `serving`: takes work
 * - `drained`: an operator has told this GPU worker to take no work
 * - `draining`: was told to stop, finishes what it has and ends
 */
export type RolePhase = "starting" | "serving" | "drained" | "draining";

/** The health of one role, as its endpoints tell it. Times are those of the clock of its process. */
export interface RoleReport {
  role: RoleName;
  version: string;
  phase: RolePhase;
  /** Why this role should get no work now, as one sentence; absent when it should. */
  unready?: string;
  startedAtMs: number;
  services: ServiceReport[];
  /** When the report was made. */
  atMs: number;
}

export interface ProcessHealthOptions {
  services: ServiceHealth;
  /** The version of Tempera. */
  version: string;
  /** The time of day: start and states are shown to people. */
  clock: Clock;
}

/** The health of a process: of the services, as it sees them, and of each role that runs in it. */
export class ProcessHealth {
  readonly services: ServiceHealth;
  readonly #options: ProcessHealthOptions;
  readonly #startedAtMs: number;
  readonly #roles = new Map<RoleName, RoleHealth>();

  constructor(options: ProcessHealthOptions) {
    this.services = options.services;
    this.#options = options;
    this.#startedAtMs = options.clock.nowMs();
  }

  /** Returns the health of a role, always the same object. */
  role(name: RoleName): RoleHealth {
    const role = this.#roles.get(name) ?? new RoleHealth((phase) => this.#reportOf(name, phase));
    this.#roles.set(name, role);
    return role;
  }

  /** Notes that the process was told to stop, and its roles with it. */
  noteStop(): void {
    for (const role of this.#roles.values()) role.enter("draining");
  }

  #reportOf(role: RoleName, phase: RolePhase): RoleReport {
    const { version, clock } = this.#options;
    const services = this.services.list();
    const unready = unreadyBecause(role, phase, services);
    return {
      ...{ role, version, phase },
      ...(unready !== undefined && { unready }),
      ...{ startedAtMs: this.#startedAtMs, services, atMs: clock.nowMs() },
    };
  }
}

/** The health of one role. Its phase is `starting` at first. */
export class RoleHealth {
  readonly #reportOf: (phase: RolePhase) => RoleReport;
  #phase: Exclude<RolePhase, "drained"> = "starting";
  #isDrained = false;

  /** Made by `ProcessHealth`. */
  constructor(reportOf: (phase: RolePhase) => RoleReport) {
    this.#reportOf = reportOf;
  }

  /** Enters a phase. A role that is draining stays so: a start that ends after the signal changes nothing. */
  enter(phase: Exclude<RolePhase, "drained">): void {
    if (this.#phase !== "draining") this.#phase = phase;
  }

  /** Notes that an operator has drained the role, or has ended that. It counts while the role serves. */
  noteDrained(isDrained: boolean): void {
    this.#isDrained = isDrained;
  }

  report(): RoleReport {
    return this.#reportOf(this.#isDrained && this.#phase === "serving" ? "drained" : this.#phase);
  }
}

const PHASE_REASONS: Record<RolePhase, string | undefined> = {
  starting: "It is starting.",
  serving: undefined,
  drained: "An operator has drained it.",
  draining: "It is draining.",
};

/**
 * Tells why a role should get no work, as one sentence; `undefined` when it should.
 *
 * Only what makes work for *this* process pointless counts. A service that is away is away for all processes:
 * if each gateway became unready for that, nobody would answer the calls that can still be answered.
 *
 * - Gateway: it knows no key before it has reached PostgreSQL once. Later, it answers calls from any of
 *   PostgreSQL, Temporal and Redis.
 * - Admin: all that it does is in PostgreSQL.
 * - Orchestrator and GPU worker: their work comes from Temporal.
 */
export function unreadyBecause(
  role: RoleName,
  phase: RolePhase,
  services: readonly Pick<ServiceReport, "service" | "state">[],
): string | undefined {
  if (phase !== "serving") return PHASE_REASONS[phase];
  const stateOf = (name: ServiceName): ServiceState | undefined =>
    services.find(({ service }) => service === name)?.state;
  const isAway = (name: ServiceName): boolean => ["starting", "away"].includes(stateOf(name) ?? "");
  if (role === "gateway") {
    if (stateOf("postgres") === "starting") return "PostgreSQL was not reached yet since the start.";
    const sources = (["postgres", "temporal", "redis"] as const).filter((name) => stateOf(name));
    return sources.length > 0 && sources.every(isAway)
      ? `${sources.map((name) => SERVICE_NAMES[name]).join(", ")}: none can be reached.`
      : undefined;
  }
  const needed = role === "admin" ? "postgres" : "temporal";
  return isAway(needed) ? `${SERVICE_NAMES[needed]} cannot be reached.` : undefined;
}

/** The services as texts for people name them. */
export const SERVICE_NAMES: Record<ServiceName, string> = {
  postgres: "PostgreSQL",
  temporal: "Temporal",
  redis: "Redis",
  objects: "the object store",
};

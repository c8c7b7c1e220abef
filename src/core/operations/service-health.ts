import type { Clock } from "./clock.ts";

/** A service that Tempera depends on. */
export type ServiceName = "postgres" | "temporal" | "redis" | "objects";

/**
 * - `starting`: not reached yet since this process started
 * - `up`: answers, and takes writes
 * - `away`: cannot be used: does not answer, or refuses this process
 * - `full`: answers, and takes no writes: it has no space left, or accepts only reads
 */
export type ServiceState = "starting" | "up" | "away" | "full";

/** The state of one service, as this process sees it. */
export interface ServiceReport {
  service: ServiceName;
  state: ServiceState;
  /** Time at which the present state began, on the clock of this `ServiceHealth`. */
  sinceMs: number;
  /** Why the service is in this state, in one line and without secrets. */
  detail?: string;
}

/**
 * The states of the services, as one process sees them. Whoever talks to a service reports here: the probes,
 * the opening of the parts, and calls whose error tells the state.
 */
export class ServiceHealth {
  readonly #clock: Clock;
  readonly #reports = new Map<ServiceName, ServiceReport>();
  readonly #listeners = new Set<(report: ServiceReport) => void>();

  /** @param clock the time of day, since `sinceMs` is shown to people */
  constructor({ clock }: { clock: Clock }) {
    this.#clock = clock;
  }

  /**
   * Records the state of a service. A repeated state keeps the time at which it began, takes the new detail,
   * and is not told to the listeners.
   */
  report(service: ServiceName, state: ServiceState, detail?: string): void {
    const before = this.#reports.get(service);
    const isSame = before?.state === state;
    const sinceMs = isSame ? before.sinceMs : this.#clock.nowMs();
    const report: ServiceReport = { service, state, sinceMs, ...(detail !== undefined && { detail }) };
    this.#reports.set(service, report);
    if (!isSame) for (const listener of [...this.#listeners]) listener(report);
  }

  /** Lists the services that were reported so far, in the order of their first report. */
  list(): ServiceReport[] {
    return [...this.#reports.values()];
  }

  /** Calls `listener` with each new state of a service. Returns the function that ends this. */
  onChange(listener: (report: ServiceReport) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}

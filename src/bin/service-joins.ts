import { isOutage, LazyConnection } from "../core/concurrency/lazy-connection.ts";
import { TemperaError } from "../core/errors/tempera-error.ts";
import { steadyClock } from "../core/operations/clock.ts";
import type { Log } from "../core/operations/log.ts";
import { SERVICE_NAMES } from "../core/operations/process-health.ts";
import type { ServiceHealth, ServiceName } from "../core/operations/service-health.ts";

/** Longest wait for the first tries. A frozen service does not delay the others for longer. */
const FIRST_TRIES_MS = 3_000;

export interface ServiceJoinsOptions {
  /** The role, for the log. */
  name: string;
  health: ServiceHealth;
  log: Log;
  /** Services whose first failed try is final. @default none */
  needed?: readonly ServiceName[];
}

/** The services that a process joins. Logs and reports each one that is waited for, and that has come. */
export class ServiceJoins implements Disposable {
  readonly #options: ServiceJoinsOptions;
  readonly #all = new Map<ServiceName, LazyConnection<unknown>>();
  readonly #errors = new Map<ServiceName, unknown>();

  constructor(options: ServiceJoinsOptions) {
    this.#options = options;
  }

  /** The states of the services, which the joins report. */
  get health(): ServiceHealth {
    return this.#options.health;
  }

  /**
   * Begins to join a service.
   *
   * @param close closes what was opened when the joins have ended meanwhile
   */
  join<T>(
    service: ServiceName,
    open: () => Promise<T>,
    close?: (value: T) => Promise<unknown>,
  ): LazyConnection<T> {
    const { name, health, log, needed = [] } = this.#options;
    const title = SERVICE_NAMES[service];
    const startedMs = steadyClock.nowMs();
    health.report(service, "starting");
    const connection = new LazyConnection({
      open,
      ...(close && { close }),
      isPassing: (error) => !needed.includes(service) && isOutage(error),
      onFailure: (error) => {
        this.#errors.set(service, error);
        log.warn({}, `${name} waits for ${title}: ${reasonOf(error)}`);
      },
      onOpen: () => {
        health.report(service, "up");
        if (!this.#errors.delete(service)) return;
        const waitedS = Math.round((steadyClock.nowMs() - startedMs) / 1000);
        log.info({}, `${name} has joined ${title} after ${waitedS} s`);
      },
    });
    this.#all.set(service, connection as LazyConnection<unknown>);
    return connection;
  }

  /** Lists the services that are not joined, as one phrase; empty when all are. */
  get awaited(): string {
    const names = [...this.#all].flatMap(([service, { isOpen }]) => (isOpen ? [] : SERVICE_NAMES[service]));
    return new Intl.ListFormat("en").format(names);
  }

  /** Returns why a service was not joined yet: the error of the last try. */
  errorOf(service: ServiceName): unknown {
    const title = SERVICE_NAMES[service];
    return (
      this.#errors.get(service) ??
      new TemperaError(
        service === "temporal" ? "temporal_unavailable" : "store_unavailable",
        `${title[0]?.toUpperCase()}${title.slice(1)} was not reached yet.`,
      )
    );
  }

  /**
   * Resolves when each service was tried once, or after three seconds. Rejects with the first error that no
   * other try can cure.
   */
  async firstTries(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const timeUp = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, FIRST_TRIES_MS);
    });
    await Promise.race([Promise.all([...this.#all.values()].map(({ firstTry }) => firstTry)), timeUp]);
    clearTimeout(timer);
    for (const { fault } of this.#all.values()) if (fault !== undefined) throw fault;
  }

  /** Resolves when a service is joined or not used. Rejects with an error that no other try can cure. */
  async joined(service: ServiceName): Promise<void> {
    await this.#all.get(service)?.ready;
  }

  /** Resolves when all services are joined. Rejects with the first error that no other try can cure. */
  async all(): Promise<void> {
    await Promise.all([...this.#all.values()].map(({ ready }) => ready));
  }

  /** Ends the tries. */
  [Symbol.dispose](): void {
    for (const connection of this.#all.values()) connection[Symbol.dispose]();
  }
}

export const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

import { PeriodicTask } from "../core/concurrency/periodic-task.ts";
import { errorInfo, isTemperaError } from "../core/errors/tempera-error.ts";
import type { ObjectStore } from "../core/files/object-store.ts";
import { LIMITS } from "../core/limits.ts";
import type { Log } from "../core/operations/log.ts";
import { SERVICE_NAMES } from "../core/operations/process-health.ts";
import type { ServiceHealth, ServiceName } from "../core/operations/service-health.ts";

/**
 * The probes of the services, by name. Each resolves when its service answers and takes writes. It rejects
 * with `store_full` when the service answers and takes no writes, and with any other error when it cannot be
 * used.
 */
export type ServiceChecks = Partial<Record<ServiceName, () => Promise<unknown>>>;

export interface ServiceProbesOptions {
  services: ServiceHealth;
  checks: ServiceChecks;
  log: Log;
}

/**
 * Probes each service in every process, not only in orchestrators, and reports its state: every
 * `LIMITS.probeMs`, from the start until `stop`. An object store that is up is probed every
 * `LIMITS.objectProbeMs`, since each probe is a paid request.
 *
 * No probe begins while the one before it goes on, and one without an end in `LIMITS.probeAnswerMs` counts as
 * unanswered. A service that was not reached since the start stays `starting`.
 */
export class ServiceProbes {
  readonly #options: ServiceProbesOptions;
  readonly #task: PeriodicTask;
  readonly #underWay = new Map<ServiceName, Promise<void>>();
  readonly #runs = new Map<ServiceName, number>();

  /** Starts the probes, the first ones at once. */
  constructor(options: ServiceProbesOptions) {
    this.#options = options;
    this.#task = new PeriodicTask(() => this.#probeDue(), {
      everyMs: LIMITS.probeMs,
      description: "probing the services",
      log: options.log,
      startsAtOnce: true,
    });
  }

  /** Probes the services whose turn it is. Resolves when each has its state. */
  async #probeDue(): Promise<void> {
    const { checks } = this.#options;
    const due = (Object.keys(checks) as ServiceName[]).filter((service) => this.#isDue(service));
    await Promise.all(due.map((service) => this.#probe(service, checks[service])));
  }

  async stop(): Promise<void> {
    await this.#task.stop();
  }

  #isDue(service: ServiceName): boolean {
    const run = this.#runs.get(service) ?? 0;
    this.#runs.set(service, run + 1);
    const everyRuns = service === "objects" ? Math.round(LIMITS.objectProbeMs / LIMITS.probeMs) : 1;
    return run % everyRuns === 0 || this.#stateOf(service) !== "up";
  }

  async #probe(service: ServiceName, check: ServiceChecks[ServiceName]): Promise<void> {
    if (!check) return;
    const underWay =
      this.#underWay.get(service) ??
      check()
        .then(
          () => this.#report(service, "up"),
          (error: unknown) => this.#reportFault(service, error),
        )
        .finally(() => this.#underWay.delete(service));
    this.#underWay.set(service, underWay);
    let timer: NodeJS.Timeout | undefined;
    const timeUp = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        this.#report(service, "away", "does not answer");
        resolve();
      }, LIMITS.probeAnswerMs);
    });
    await Promise.race([underWay, timeUp]);
    clearTimeout(timer);
  }

  #reportFault(service: ServiceName, error: unknown): void {
    if (isTemperaError(error) && error.code === "store_full") this.#report(service, "full", error.message);
    else this.#report(service, "away", reasonOf(error), error);
  }

  #report(service: ServiceName, found: "up" | "away" | "full", detail?: string, error?: unknown): void {
    const { services, log } = this.#options;
    const before = this.#stateOf(service);
    const state = found === "away" && (before ?? "starting") === "starting" ? "starting" : found;
    services.report(service, state, detail);
    if (state === before) return;
    const fields = { service, state, detail, ...(error !== undefined && { err: errorInfo(error) }) };
    const name = SERVICE_NAMES[service];
    if (state !== "up")
      log.warn(fields, `${name} ${state === "full" ? "takes no writes" : "cannot be used"}`);
    else if (before === "away" || before === "full") log.info(fields, `${name} can be used again`);
  }

  #stateOf(service: ServiceName) {
    return this.#options.services.list().find((report) => report.service === service)?.state;
  }
}

/** The object of `checkObjects`. Every process puts the same bytes. */
const PROBE_KEY = "health/probe";
const PROBE_BYTES = Buffer.from("Tempera puts this object to see whether the store takes writes.\n");

/** Puts one object of 64 bytes, always the same, so that nothing piles up. Rejects as `put` does. */
export function checkObjects({ put }: Pick<ObjectStore, "put">): Promise<void> {
  return put(PROBE_KEY, PROBE_BYTES, { bytes: PROBE_BYTES.length, contentType: "text/plain" });
}

/** The predicates for PostgreSQL's codes. They are no words of a text, where a port may look like one. */
const SQL_STATES: Record<string, string> = {
  "28P01": "refuses the login",
  "28000": "refuses the login",
  "3D000": "lacks the database",
  "53300": "has no free connection",
  "57P03": "is starting up",
  "57P01": "is shutting down",
  "57P02": "is shutting down",
};

/**
 * The predicates for faults that an operator can act on, by a word in the code or the text of the error: that
 * of the system, of the server or of the driver. They contain no address, since anyone may read `/health`.
 */
const REASONS: [word: RegExp, predicate: string][] = [
  [/ECONNREFUSED|Connection refused/i, "refuses connections"],
  [/ETIMEDOUT|CONNECT_TIMEOUT|no answer|not answered|temporal_unavailable/, "does not answer"],
  [/ENOTFOUND|EAI_AGAIN/, "has a name that cannot be resolved"],
  [/EHOSTUNREACH|ENETUNREACH/, "cannot be reached over the network"],
  [/\bCERT_|CERTIFICATE|ALTNAME/, "has a certificate that is not trusted"],
  [/WRONGPASS|NOAUTH|NOPERM|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch/, "refuses the login"],
  [/Namespace/, "lacks the namespace"],
  [/NoSuchBucket/, "lacks the bucket"],
  [/LOADING/, "is starting up"],
  [/CLUSTERDOWN|MASTERDOWN/, "has no primary server"],
];

/** Returns why a service cannot be used, as a predicate without addresses or secrets. */
export function reasonOf(error: unknown): string {
  let text = "";
  for (let each = error; each instanceof Error; each = each.cause) {
    const code = String((each as { code?: unknown }).code ?? "");
    const known = SQL_STATES[code];
    if (known !== undefined) return known;
    text += ` ${code} ${each.message}`;
  }
  return REASONS.find(([word]) => word.test(text))?.[1] ?? "cannot be used";
}

import { join } from "node:path";
import { choosePorts, type StackPorts } from "./kept-ports.ts";
import { PortInUse } from "./services/port.ts";
import { startPostgres } from "./services/postgres.ts";
import type { Log, Service } from "./services/service.ts";
import type { TemporalService } from "./services/temporal.ts";
import { SetupError } from "./setup-error.ts";
import { makeClientCertificates } from "./temporal/client-certificates.ts";
import { startClosedTemporal } from "./temporal/closed-temporal.ts";
import { findOwnNetwork } from "./temporal/own-network.ts";

/** The services of the embedded default, which run where no other address is configured. */
export interface EmbeddedStackOptions {
  /** The data folder (`.tempera`), with a folder for each service that has its state and its log. */
  folder: string;
  /** The configured ports. Each other one is the port of the last start, or a free one. */
  ports: Partial<StackPorts>;
  /** The services to start. */
  wants: { temporal: boolean; postgres: boolean };
  log: Log;
  env?: NodeJS.ProcessEnv;
  /** Stops what was started, and makes the start reject. */
  signal?: AbortSignal | undefined;
}

export interface EmbeddedStack extends AsyncDisposable {
  /**
   * Undefined when it was not wanted. A service that ends by itself is restarted on the same port and state.
   */
  readonly temporal: TemporalService | undefined;
  readonly postgres: Service | undefined;
  readonly ports: StackPorts;
  stop(): Promise<void>;
}

/** Restarts of a service within a minute; a service that ends once more is not restarted. */
const RESTARTS_PER_MINUTE = 5;

/** Choices of ports at a start: a platform that starts at the same time may take one of them. */
const CHOICES_MAX = 4;

/**
 * Starts the wanted services concurrently, and resolves when all of them are ready.
 *
 * Rejects with `setup_failed` when one cannot be started, with a line for each; the others are stopped first.
 */
export async function startEmbeddedStack(options: EmbeddedStackOptions): Promise<EmbeddedStack> {
  const { folder, ports: configured } = options;
  for (let choice = 1; ; choice++) {
    const ports = await choosePorts(folder, configured);
    try {
      return await startOn(ports, options);
    } catch (error) {
      if (!(error instanceof PortInUse) || choice === CHOICES_MAX) throw error;
      if (Object.values(configured).some((port) => error.ports.includes(port))) throw error;
    }
  }
}

async function startOn(ports: StackPorts, options: EmbeddedStackOptions): Promise<EmbeddedStack> {
  const { folder, wants, log, env, signal } = options;
  const shared = { log, signal, ...(env && { env }) };
  const [temporal, postgres] = await Promise.allSettled([
    wants.temporal ? superviseTemporal(ports, options) : undefined,
    wants.postgres
      ? supervise(
          () => startPostgres({ folder: join(folder, "postgres"), port: ports.postgres, ...shared }),
          log,
        )
      : undefined,
  ]);
  const stop = async () => {
    await Promise.all(
      [temporal, postgres].map(
        async (started) => started.status === "fulfilled" && (await started.value?.stop()),
      ),
    );
  };
  if (temporal.status === "rejected" || postgres.status === "rejected") {
    await stop();
    signal?.throwIfAborted();
    const reasons = [temporal, postgres].flatMap((started) =>
      started.status === "rejected" ? [started.reason] : [],
    );
    const message = reasons.map(sentence).join("\n");
    const taken = reasons.filter((reason) => reason instanceof PortInUse);
    if (taken.length < reasons.length) throw new SetupError(message);
    throw new PortInUse(
      taken.flatMap(({ ports }) => ports),
      message,
    );
  }
  return {
    ports,
    get temporal() {
      return temporal.value?.current();
    },
    get postgres() {
      return postgres.value?.current();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** Its credential is made anew at each start of the platform, and stays when Temporal is restarted. */
async function superviseTemporal(
  ports: StackPorts,
  { folder: data, log, env, signal }: EmbeddedStackOptions,
): Promise<Supervised<TemporalService>> {
  const folder = join(data, "temporal");
  const [certificates, network] = await Promise.all([
    makeClientCertificates(join(folder, "tls")),
    findOwnNetwork(),
  ]);
  if (!network) {
    log(
      "Temporal: this host permits no network of its own, so every user of this machine can use it " +
        "(docs/hardening.md)",
    );
  }
  const options = { folder, port: ports.temporal, uiPort: ports.temporalUi, certificates, network };
  return supervise(() => startClosedTemporal({ ...options, log, signal, ...(env && { env }) }), log);
}

interface Supervised<S extends Service> {
  current(): S;
  stop(): Promise<void>;
}

/** Starts a service, and restarts it whenever it ends by itself, until it is stopped. */
async function supervise<S extends Service>(start: () => Promise<S>, log: Log): Promise<Supervised<S>> {
  let isStopping = false;
  let current = await start();
  const starts: number[] = [];

  const watch = async () => {
    for (;;) {
      const how = await current.ended;
      if (isStopping) return;
      const recent = starts.filter((atMs) => atMs > Date.now() - 60_000).length;
      if (recent >= RESTARTS_PER_MINUTE) {
        log(`${current.name} ended (${how}) too often within a minute; it is not started again`);
        return;
      }
      starts.push(Date.now());
      log(`${current.name} ended (${how}); starting it again`);
      try {
        current = await start();
        log(`${current.name} is back`);
      } catch (error) {
        log(`${current.name} cannot be started again: ${sentence(error)}`);
        return;
      }
      // It was stopped while it was starting.
      if (isStopping) await current.stop();
    }
  };
  const watching = watch();
  return {
    current: () => current,
    async stop() {
      isStopping = true;
      await current.stop();
      await watching;
    },
  };
}

const sentence = (error: unknown): string => (error instanceof Error ? error.message : String(error));

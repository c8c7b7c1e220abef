import { join } from "node:path";
import { startPostgres } from "./services/postgres.ts";
import type { Log, Service } from "./services/service.ts";
import { startTemporal, type TemporalService } from "./services/temporal.ts";
import { SetupError } from "./setup-error.ts";

/** The services of the embedded default. What is configured by a URL is not wanted here. */
export interface EmbeddedStackOptions {
  /** The data folder (`.tempera`): each service has a folder of its own in it, with its state and its log. */
  folder: string;
  ports: { temporal: number; temporalUi: number; postgres: number };
  wants: { temporal: boolean; postgres: boolean };
  log: Log;
  env?: NodeJS.ProcessEnv;
}

export interface EmbeddedStack extends AsyncDisposable {
  /**
   * Undefined when it was not wanted. One that ends by itself is started again on the same port and state.
   */
  readonly temporal: TemporalService | undefined;
  readonly postgres: Service | undefined;
  stop(): Promise<void>;
}

/** A service that keeps ending is given up after this many starts in a minute. */
const RESTARTS_PER_MINUTE = 5;

/**
 * Starts what is wanted, all at once, and resolves when all of it is ready.
 *
 * Rejects with `setup_failed` when one cannot be started, a line for each; the others are stopped first.
 */
export async function startEmbeddedStack(options: EmbeddedStackOptions): Promise<EmbeddedStack> {
  const { folder, ports, wants, log, env } = options;
  const shared = { log, ...(env && { env }) };
  const [temporal, postgres] = await Promise.allSettled([
    wants.temporal
      ? keepRunning(
          () =>
            startTemporal({
              folder: join(folder, "temporal"),
              port: ports.temporal,
              uiPort: ports.temporalUi,
              ...shared,
            }),
          log,
        )
      : undefined,
    wants.postgres
      ? keepRunning(
          () => startPostgres({ folder: join(folder, "postgres"), port: ports.postgres, ...shared }),
          log,
        )
      : undefined,
  ]);
  const stop = async () => {
    await Promise.all(
      [temporal, postgres].map(async (kept) => kept.status === "fulfilled" && (await kept.value?.stop())),
    );
  };
  if (temporal.status === "rejected" || postgres.status === "rejected") {
    await stop();
    throw new SetupError(
      [temporal, postgres]
        .flatMap((kept) => (kept.status === "rejected" ? [sentence(kept.reason)] : []))
        .join("\n"),
    );
  }
  return {
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

interface Kept<S extends Service> {
  current(): S;
  stop(): Promise<void>;
}

/** Starts a service, and again whenever it ends by itself, until it is stopped. */
async function keepRunning<S extends Service>(start: () => Promise<S>, log: Log): Promise<Kept<S>> {
  let isStopping = false;
  let current = await start();
  const starts: number[] = [];

  const watch = async () => {
    for (;;) {
      const how = await current.ended;
      if (isStopping) return;
      const recent = starts.filter((atMs) => atMs > Date.now() - 60_000).length;
      if (recent >= RESTARTS_PER_MINUTE) {
        log(`${current.name} ended (${how}), once more within a minute; it is not started again`);
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
      // The stop came while it was starting.
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

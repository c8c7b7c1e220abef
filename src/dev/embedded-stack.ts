import { join } from "node:path";
import { startPostgres } from "./services/postgres.ts";
import type { Log, Service } from "./services/service.ts";
import { startTemporal, type TemporalService } from "./services/temporal.ts";

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
  temporal?: TemporalService;
  postgres?: Service;
  /** Ends the services in order. A service that ends by itself before is started again on the same port and state. */
  stop(): Promise<void>;
}

/** A service that keeps ending is given up after this many starts in a minute. */
const RESTARTS_PER_MINUTE = 5;

/**
 * Starts what is wanted, all at once, and resolves when all of it is ready.
 *
 * Rejects with `setup_failed` when one cannot be started; the others are stopped first.
 */
export async function startEmbeddedStack(options: EmbeddedStackOptions): Promise<EmbeddedStack> {
  const { folder, ports, wants, log, env } = options;
  const shared = { log, ...(env && { env }) };
  const keepers: Keeper[] = [];
  const keep = async <S extends Service>(start: () => Promise<S>): Promise<S> => {
    const service = await start();
    keepers.push(keepRunning(service, start, log));
    return service;
  };
  const stop = async () => {
    await Promise.all(keepers.map((keeper) => keeper.stop()));
  };

  const [temporal, postgres] = await Promise.allSettled([
    wants.temporal
      ? keep(() => startTemporal({ folder: join(folder, "temporal"), port: ports.temporal, uiPort: ports.temporalUi, ...shared }))
      : undefined,
    wants.postgres ? keep(() => startPostgres({ folder: join(folder, "postgres"), port: ports.postgres, ...shared })) : undefined,
  ]);
  for (const attempt of [temporal, postgres]) {
    if (attempt.status === "fulfilled") continue;
    await stop();
    throw attempt.reason;
  }
  return {
    ...(temporal.status === "fulfilled" && temporal.value && { temporal: temporal.value }),
    ...(postgres.status === "fulfilled" && postgres.value && { postgres: postgres.value }),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

interface Keeper {
  stop(): Promise<void>;
}

/** Starts a service again whenever it ends by itself, until it is stopped. */
function keepRunning<S extends Service>(first: S, start: () => Promise<S>, log: Log): Keeper {
  let isStopping = false;
  let current: S = first;
  const starts: number[] = [];

  const watch = async () => {
    while (!isStopping) {
      const how = await current.ended;
      if (isStopping) return;
      const recent = starts.filter((atMs) => atMs > Date.now() - 60_000).length;
      if (recent >= RESTARTS_PER_MINUTE) {
        log(`${current.name} ended (${how}) for the ${recent + 1}th time in a minute; it is not started again`);
        return;
      }
      starts.push(Date.now());
      log(`${current.name} ended (${how}); starting it again`);
      try {
        current = await start();
      } catch (error) {
        log(`${current.name} cannot be started again: ${error instanceof Error ? error.message : error}`);
        return;
      }
    }
  };
  const watching = watch();
  return {
    async stop() {
      isStopping = true;
      await current.stop();
      await watching;
      // It was starting again when the stop came.
      await current.stop();
    },
  };
}

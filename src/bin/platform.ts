import { randomBytes, randomUUID } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { keyFile } from "../config/key-file.ts";
import type { Config } from "../config/settings.ts";
import { withAbort } from "../core/concurrency/with-abort.ts";
import { createCloseStack } from "../core/operations/close-stack.ts";
import type { Log } from "../core/operations/log.ts";
import type { RoleName } from "../core/operations/process-health.ts";
import { closeDataFolder } from "../dev/data-folder.ts";
import { type EmbeddedStack, startEmbeddedStack } from "../dev/embedded-stack.ts";
import { type StackPorts, USUAL_PORTS } from "../dev/kept-ports.ts";
import { type Addresses, configuredS3 } from "./addresses.ts";
import { ensureAdminKey, startAdmin } from "./admin.ts";
import { takeFolder } from "./folder-lock.ts";
import { startGateway } from "./gateway.ts";
import { startGpuWorkerRole } from "./gpu-worker.ts";
import { openRegistry } from "./open-registry.ts";
import { startOrchestrator } from "./orchestrator.ts";
import { orchestratorBundle } from "./orchestrator-bundle.ts";
import { openParts, type Parts } from "./parts.ts";
import { type Role, startRole } from "./role.ts";
import { certificateSource } from "./tls.ts";

/** The whole platform in this process. Services that no address is configured for are embedded. */
export interface Platform {
  url: string;
  adminUrl: string;
  /**
   * The gateway over TLS, if that is configured; `caFile` is the local authority that clients must trust,
   * unless the certificate is the operator's own.
   */
  tls: { url: string; caFile?: string } | undefined;
  /** The embedded Temporal's UI; a configured Temporal has its own. */
  temporalUi: { url: string; passwordFile: string } | undefined;
  /** A key of scope ADMIN: the configured one, or the one kept in the data folder. */
  key: string;
  /** The kept key: its file (mode 0600), and whether it was made by this start. */
  keptKey: KeptKey | undefined;
  endpoints: string[];
  /** The endpoints of the pipelines that come with the program. */
  pipelines: string[];
  /** Drains and ends everything, services last. */
  stop(): Promise<void>;
  /** Rejects when a role broke. */
  ended: Promise<void>;
}

/**
 * Starts services, stores and all four roles.
 *
 * Rejects with a sentence that names the obstacle and its remedy; nothing is left running.
 *
 * @param signal ends the start: what runs by then is stopped, and the start rejects
 */
export async function startPlatform(
  config: Config,
  log: Log,
  say: (line: string) => void,
  signal: AbortSignal = new AbortController().signal,
): Promise<Platform> {
  const closing = createCloseStack();
  try {
    const registry = await openRegistry(config, log);
    const data = await makeDataFolder(config);
    const held = await takeFolder(data);
    closing.defer(() => held.release());
    // An unusable certificate is reported before any service is started.
    if (config.tls.enabled) await certificateSource(config);
    const bundling = orchestratorBundle(config);
    bundling.catch(() => {}); // awaited by the orchestrator
    const stack = await startServices(config, data, { say, signal });
    closing.defer(() => stack.stop());
    const { temporal: port, temporalUi: uiPort } = stack.ports;
    const placed = { ...config, temporal: { ...config.temporal, port, uiPort } };
    const parts = await openParts(placed, registry, addressesOf(config, stack), log);
    closing.defer(() => parts[Symbol.asyncDispose]());
    signal.throwIfAborted();

    const started = async <R extends Role>(name: RoleName, start: () => Promise<R>): Promise<R> => {
      // Loading the pinned models takes minutes; an aborted start does not wait for them.
      const role = await withAbort(startRole(name, start, { log, closing }), signal);
      closing.defer(() => role.stop());
      return role;
    };
    const [orchestrator, gpuWorker] = await Promise.all([
      started("orchestrator", () => startOrchestrator(parts, bundling)),
      started("gpu-worker", () => startGpuWorkerRole(parts)),
    ]);
    const keptKey = config.keys.admin ? undefined : await firstKey(parts, keyFile(data));
    const key = config.keys.admin ?? keptKey?.key ?? "";
    const keyed = { ...placed, keys: { ...config.keys, admin: key } };
    const admin = await started("admin", () => startAdmin({ ...parts, config: keyed }));
    const gateway = await started("gateway", () => startGateway(parts));
    signal.throwIfAborted();

    const url = `http://localhost:${gateway.port}`;
    await held.announce(url);
    return {
      url,
      adminUrl: `http://localhost:${admin.port}`,
      tls: gateway.tls && {
        url: `https://localhost:${gateway.tls.port}`,
        ...(gateway.tls.caFile && { caFile: gateway.tls.caFile }),
      },
      temporalUi: uiOf(stack),
      key,
      keptKey,
      endpoints: [...new Set(registry.list().map(({ endpoint }) => endpoint))],
      pipelines: [...new Set(registry.pipelines().map(({ endpoint }) => endpoint))],
      stop: () => {
        parts.processHealth.noteStop();
        return closing[Symbol.asyncDispose]();
      },
      ended: Promise.race([orchestrator.ended, gpuWorker.ended]).then(() => {}),
    };
  } catch (error) {
    await closing[Symbol.asyncDispose]().catch(() => {});
    throw error;
  }
}

async function makeDataFolder({ folders }: Config): Promise<string> {
  const data = resolve(folders.data);
  await closeDataFolder(data).catch((error) => {
    throw new Error(
      `The data folder ${data} cannot be made this user's own (${(error as Error).message}); ` +
        "set TEMPERA_DATA to a folder that is, or to one that this user can create.",
      { cause: error },
    );
  });
  return data;
}

/** Starts the services that no address is configured for. */
const startServices = (
  config: Config,
  data: string,
  { say, signal }: { say: (line: string) => void; signal: AbortSignal },
): Promise<EmbeddedStack> =>
  startEmbeddedStack({
    folder: data,
    ports: configuredPorts(config),
    wants: { temporal: !config.temporal.address, postgres: !config.postgres.url },
    log: say,
    signal,
  });

function uiOf({ temporal }: EmbeddedStack): Platform["temporalUi"] {
  const { uiUrl: url, uiPasswordFile: passwordFile } = temporal ?? {};
  return url && passwordFile ? { url, passwordFile } : undefined;
}

/** Gives the ports that differ from their defaults. A default gives way to another program. */
function configuredPorts({ temporal, postgres }: Config): Partial<StackPorts> {
  const ports = { temporal: temporal.port, temporalUi: temporal.uiPort, postgres: postgres.port };
  return Object.fromEntries(
    Object.entries(ports).filter(([name, port]) => port !== USUAL_PORTS[name as keyof StackPorts]),
  );
}

/** Gives the configured addresses, and for services without one the address of the embedded service. */
function addressesOf(config: Config, stack: EmbeddedStack): Addresses {
  const s3 = configuredS3(config);
  return {
    temporal: config.temporal.address ?? stack.temporal?.url ?? "",
    ...(stack.temporal?.tls && { temporalTls: stack.temporal.tls }),
    databaseUrl: config.postgres.url ?? stack.postgres?.url ?? "",
    ...(config.redis.url && { redisUrl: config.redis.url }),
    ...(s3 && { s3 }),
  };
}

/** A key that the embedded default made for itself. */
interface KeptKey {
  key: string;
  file: string;
  isNew: boolean;
}

/** Reads the key in the data folder. Creates one at the first start, and after the last one was revoked. */
async function firstKey(parts: Parts, file: string): Promise<KeptKey> {
  const stored = (await readFile(file, "utf8").catch(() => "")).trim();
  if (stored && (await ensureAdminKey(parts, stored))) return { key: stored, file, isNew: false };
  const key = `${randomUUID()}:${randomBytes(32).toString("hex")}`;
  await writeFile(file, `${key}\n`, { mode: 0o600 });
  return { key, file, isNew: true };
}

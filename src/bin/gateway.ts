import { createTemporalCalls, type TemporalCalls } from "../adapters/temporal/calls.ts";
import { createDeliveries } from "../adapters/temporal/deliveries.ts";
import { createJobs } from "../adapters/temporal/jobs.ts";
import { createSchedules } from "../adapters/temporal/schedules.ts";
import { createSessions } from "../adapters/temporal/sessions.ts";
import { createKeyRing } from "../api/auth/key-ring.ts";
import { createTokens } from "../api/auth/tokens.ts";
import type { ApiDependencies } from "../api/dependencies.ts";
import { createStorageDefaults } from "../api/files/storage-defaults.ts";
import { createGateway } from "../api/gateway.ts";
import { listen } from "../api/http/listen.ts";
import { createEffectiveLimits } from "../api/limits/effective-limits.ts";
import { createOwnerLimits } from "../api/limits/owner-limits.ts";
import { createCheckDefinition } from "../api/pipelines/check-definition.ts";
import { createSavedPipelines } from "../api/pipelines/saved-pipelines.ts";
import { createSockets } from "../api/realtime/sockets.ts";
import { createRetentionClock } from "../api/requests/retention-clock.ts";
import { retentionView } from "../api/requests/retention-view.ts";
import { createWithdrawals } from "../api/requests/withdraw-job.ts";
import { createWebhookOf } from "../api/webhooks/requested-webhook.ts";
import { steadyClock, systemClock } from "../core/operations/clock.ts";
import { createCloseStack } from "../core/operations/close-stack.ts";
import type { Parts } from "./parts.ts";
import { retentionPolicy } from "./retention-policy.ts";
import { isMain, type Role, runRole } from "./role.ts";
import { certificateSource, keepCertificateFresh } from "./tls.ts";

/** Time that open responses and streams have after a stop, in milliseconds. */
const GRACE_MS = 2_000;

type Gateway = Role & { port: number; tls: GatewayTls | undefined };

/** The TLS listener; `caFile` is the local authority, if that is used: clients must trust it. */
interface GatewayTls {
  port: number;
  caFile?: string;
}

/**
 * Starts the public HTTP service, and the same over TLS if that is configured.
 *
 * @param overrides ports that a measurement or a test replaces
 * @param calls sends the calls to Temporal; ended with the gateway
 */
export async function startGateway(
  parts: Parts,
  overrides: Partial<ApiDependencies> = {},
  calls = createTemporalCalls(parts.client),
): Promise<Gateway> {
  const { config } = parts;
  const certificates = config.tls.enabled ? await certificateSource(config) : undefined;
  const caches = await openCaches(parts);
  const temporal = openTemporal(parts, calls);
  const api = await gatewayPorts(parts, { ...caches, ...temporal }, overrides);
  const app = createGateway(api);
  const sockets = createSockets(api, (request) => app.fetch(request));
  const closing = createCloseStack();
  for (const cache of Object.values(caches)) closing.defer(() => cache[Symbol.asyncDispose]());
  for (const each of [temporal.calls, temporal.withdrawals])
    closing.defer(async () => each[Symbol.dispose]());
  try {
    const { host, port } = config.server;
    const listener = { host, upgrade: sockets.upgrade };
    const server = await listen(app, { ...listener, port, name: "gateway", setting: "TEMPERA_PORT" });
    const servers = [server];
    closing.defer(() => Promise.all(servers.map((each) => each.stop(GRACE_MS))));
    let tls: GatewayTls | undefined;
    if (certificates) {
      const secure = await listen(app, {
        ...listener,
        port: config.tls.port,
        name: "gateway, TLS",
        setting: "TEMPERA_TLS_PORT",
        tls: { ...(await certificates.certificate()), log: parts.log },
      });
      servers.push(secure);
      closing.defer(keepCertificateFresh(secure, certificates, parts.log));
      tls = { port: secure.port, ...(certificates.caFile && { caFile: certificates.caFile }) };
    }
    // Sockets stop before the listeners, which wait for every connection.
    closing.defer(() => sockets.stop());
    return { port: server.port, tls, stop: () => closing[Symbol.asyncDispose]() };
  } catch (error) {
    await closing[Symbol.asyncDispose]();
    throw error;
  }
}

/** Opens the gateway's side of Temporal. */
function openTemporal(parts: Parts, calls: TemporalCalls) {
  const jobs = createJobs(parts.client, calls);
  return { calls, jobs, withdrawals: createWithdrawals({ ...parts, jobs }) };
}

type Opened = Awaited<ReturnType<typeof openCaches>> & ReturnType<typeof openTemporal>;

/** Opens the caches that follow changes of the stores for as long as the gateway runs. */
async function openCaches(parts: Parts) {
  const { config } = parts;
  return {
    keyRing: await createKeyRing({
      keys: parts.keys,
      clock: steadyClock,
      hashes: parts.keyHashes,
      log: parts.log,
    }),
    effectiveLimits: await createEffectiveLimits(parts),
    times: await createRetentionClock({
      retention: parts.retention,
      policy: retentionPolicy(config),
      log: parts.log,
    }),
    storageDefaults: await createStorageDefaults(parts),
    savedPipelines: await createSavedPipelines({
      pipelines: parts.pipelines,
      clock: systemClock,
      coercion: parts.config.inputs.coercion,
    }),
  };
}

/** Composes the ports of the gateway's routes. Settings that may change while it runs are getters. */
async function gatewayPorts(
  parts: Parts,
  opened: Opened,
  overrides: Partial<ApiDependencies>,
): Promise<ApiDependencies> {
  const { config } = parts;
  const { keyRing, times, storageDefaults, effectiveLimits, savedPipelines } = opened;
  const { findPipeline } = savedPipelines;
  const { calls, jobs, withdrawals } = opened;
  return {
    ...parts,
    ...retentionView({ ...parts, jobs }, { times, clock: systemClock }),
    withdrawJob: withdrawals.withdrawJob,
    sessions: createSessions(parts.client, calls),
    redeliveries: createDeliveries(parts.client, calls),
    schedules: createSchedules(parts.client),
    times,
    policy: retentionPolicy(config),
    limits: createOwnerLimits({ ...parts, effectiveLimits }),
    findPipeline,
    checkDefinition: createCheckDefinition({ registry: parts.registry, findPipeline }),
    keyRing,
    storageDefaults,
    tokens: createTokens({ secret: await parts.secrets.secret("tokens"), keyRing, clock: systemClock }),
    uploadSecret: await parts.secrets.secret("uploads"),
    webhookOf: createWebhookOf(parts.allowedPrivate, config.webhooks),
    clock: systemClock,
    bodyBytesMax: config.server.bodyBytesMax,
    get runsMax() {
      return config.server.runsMax;
    },
    publicUrl: config.server.publicUrl?.replace(/\/+$/, ""),
    outputUrl: parts.publicUrl,
    trustProxy: config.server.trustProxy,
    realtime: {
      get idleMs() {
        return config.realtime.idleSeconds * 1000;
      },
      get socketsMax() {
        return config.realtime.socketsMax;
      },
      get sessionsMax() {
        return config.realtime.sessionsMax;
      },
    },
    ...overrides,
  };
}

if (isMain(import.meta.url)) await runRole("gateway", (parts) => startGateway(parts));

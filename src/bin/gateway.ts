import { Hono } from "hono";
import { createTemporalCalls, type TemporalCalls } from "../adapters/temporal/calls.ts";
import { createDeliveries } from "../adapters/temporal/deliveries.ts";
import { createJobs } from "../adapters/temporal/jobs.ts";
import { createSchedules } from "../adapters/temporal/schedules.ts";
import { createSessions } from "../adapters/temporal/sessions.ts";
import { createAuthFailures } from "../api/auth/auth-failure-limiter.ts";
import { createKeyRing } from "../api/auth/key-ring.ts";
import { createTokens } from "../api/auth/tokens.ts";
import type { ApiDependencies } from "../api/dependencies.ts";
import { createStorageDefaults } from "../api/files/storage-defaults.ts";
import { createGateway } from "../api/gateway.ts";
import { listen, type UpgradeHandler } from "../api/http/listen.ts";
import { createEffectiveLimits } from "../api/limits/effective-limits.ts";
import { createOwnerLimits } from "../api/limits/owner-limits.ts";
import { createCheckDefinition } from "../api/pipelines/check-definition.ts";
import { createSavedPipelines } from "../api/pipelines/saved-pipelines.ts";
import { createSockets, refuse } from "../api/realtime/sockets.ts";
import { createRetentionClock } from "../api/requests/retention-clock.ts";
import { retentionView } from "../api/requests/retention-view.ts";
import { createUnservedNotice } from "../api/requests/unserved-notice.ts";
import { createWithdrawals } from "../api/requests/withdraw-job.ts";
import { createWaitingGateway, NOT_REACHED } from "../api/waiting-gateway.ts";
import { createWebhookOf } from "../api/webhooks/requested-webhook.ts";
import type { Config } from "../config/settings.ts";
import { TemperaError } from "../core/errors/tempera-error.ts";
import { steadyClock, systemClock } from "../core/operations/clock.ts";
import { type CloseStack, closeOnFailure } from "../core/operations/close-stack.ts";
import type { Log } from "../core/operations/log.ts";
import { ownerBudgets } from "./configured/owner-budgets.ts";
import { retentionPolicy } from "./configured/retention-policy.ts";
import { fileSigning, outputUrls } from "./file-signing.ts";
import type { Parts } from "./parts.ts";
import { isMain, type Listeners, type Role, runRole, type Waiting } from "./role.ts";
import { certificateSource, keepCertificateFresh } from "./tls.ts";

/** Time that open responses and streams have after a stop, in milliseconds. */
const GRACE_MS = 2_000;

type Gateway = Role & { port: number; tls: GatewayTls | undefined };

/** The TLS listener; `caFile` is the local authority, if that is used: clients must trust it. */
interface GatewayTls {
  port: number;
  caFile?: string;
}

/** The HTTP service behind a listener. */
interface Served {
  app: Hono;
  upgrade: UpgradeHandler;
}

/** The listeners of a gateway: one, and one over TLS if that is configured. */
interface GatewayListeners extends Listeners {
  port: number;
  tls: GatewayTls | undefined;
  /** Serves another service from now on. */
  serve(served: Served): void;
}

/** Opens the listeners of a gateway. */
function openListeners(config: Config, log: Log, first: Served): Promise<GatewayListeners> {
  let served = first;
  const front = new Hono();
  front.fetch = (...args) => served.app.fetch(...args);
  const upgrade: UpgradeHandler = (...args) => served.upgrade(...args);
  return closeOnFailure(async (closing) => {
    const certificates = config.tls.enabled ? await certificateSource(config) : undefined;
    const { host, port, trustProxy } = config.server;
    // All connections come from the proxy.
    const connectionsOfAddressMax = trustProxy ? 0 : config.server.connectionsOfAddressMax;
    const server = await listen(front, {
      host,
      upgrade,
      port,
      connectionsOfAddressMax,
      name: "gateway",
      setting: "TEMPERA_PORT",
    });
    const servers = [server];
    closing.defer(() => Promise.all(servers.map((each) => each.stop(GRACE_MS))));
    let tls: GatewayTls | undefined;
    if (certificates) {
      const secure = await listen(front, {
        host,
        upgrade,
        connectionsOfAddressMax,
        port: config.tls.port,
        name: "gateway, TLS",
        setting: "TEMPERA_TLS_PORT",
        tls: { ...(await certificates.certificate()), log },
      });
      servers.push(secure);
      const renewing = keepCertificateFresh(secure, certificates, log);
      closing.defer(() => renewing.stop());
      tls = { port: secure.port, ...(certificates.caFile && { caFile: certificates.caFile }) };
    }
    return {
      port: server.port,
      tls,
      serve: (next) => {
        served = next;
      },
      stop: () => closing[Symbol.asyncDispose](),
    };
  });
}

/** Opens the listeners of a gateway that waits for PostgreSQL. */
function listenWaiting({ config, log, ...waiting }: Waiting): Promise<GatewayListeners> {
  const { trustProxy, filesUrl } = config.server;
  return openListeners(config, log, {
    app: createWaitingGateway({ ...waiting, log, trustProxy, filesUrl: filesUrl?.replace(/\/+$/, "") }),
    upgrade: (_, socket) => refuse(socket, new TemperaError(NOT_REACHED.code), log),
  });
}

/**
 * Starts the public HTTP service, and the same over TLS if that is configured.
 *
 * @param overrides ports that a measurement or a test replaces
 * @param calls sends the calls to Temporal; ended with the gateway
 * @param listeners those that are open already
 */
export function startGateway(
  parts: Parts,
  overrides: Partial<ApiDependencies> = {},
  calls = createTemporalCalls(parts.client),
  listeners?: GatewayListeners,
): Promise<Gateway> {
  return closeOnFailure(async (closing) => {
    const { config, log } = parts;
    const temporal = openTemporal(parts, calls);
    for (const each of [temporal.calls, temporal.withdrawals])
      closing.defer(async () => each[Symbol.dispose]());
    const caches = await openCaches(parts, closing);
    const api = await gatewayPorts(parts, { ...caches, ...temporal }, overrides);
    const app = createGateway(api);
    const sockets = createSockets(api, (request, env) => app.fetch(request, env));
    const served = { app, upgrade: sockets.upgrade };
    const open = listeners ?? (await openListeners(config, log, served));
    open.serve(served);
    closing.defer(() => open.stop());
    // Sockets stop before the listeners, which wait for every connection.
    closing.defer(() => sockets.stop());
    api.health.enter("serving");
    return { port: open.port, tls: open.tls, stop: () => closing[Symbol.asyncDispose]() };
  });
}

/** Opens the gateway's side of Temporal. */
function openTemporal(parts: Parts, calls: TemporalCalls) {
  const jobs = createJobs(parts.client, calls);
  return { calls, jobs, withdrawals: createWithdrawals({ ...parts, jobs }) };
}

type Opened = Awaited<ReturnType<typeof openCaches>> & ReturnType<typeof openTemporal>;

/** Opens the caches that follow changes of the stores for as long as the gateway runs. */
async function openCaches(parts: Parts, closing: CloseStack) {
  const { config, log, keys, keyHashes: hashes, retention, pipelines, schemaThread } = parts;
  const opened = async <C extends AsyncDisposable>(opening: Promise<C>): Promise<C> => {
    const cache = await opening;
    closing.defer(() => cache[Symbol.asyncDispose]());
    return cache;
  };
  const { trustProxy } = config.server;
  const authFailures = createAuthFailures();
  return {
    authFailures,
    keyRing: await opened(createKeyRing({ keys, clock: steadyClock, hashes, log, trustProxy, authFailures })),
    effectiveLimits: await opened(createEffectiveLimits(parts)),
    times: await opened(createRetentionClock({ retention, policy: retentionPolicy(config), log })),
    storageDefaults: await opened(createStorageDefaults(parts)),
    savedPipelines: await opened(createSavedPipelines({ pipelines, clock: systemClock, schemaThread })),
  };
}

/** Composes the ports of the gateway's routes. Settings that may change while it runs are getters. */
async function gatewayPorts(
  parts: Parts,
  opened: Opened,
  overrides: Partial<ApiDependencies>,
): Promise<ApiDependencies> {
  const { config } = parts;
  const { keyRing, authFailures, times, storageDefaults, effectiveLimits, savedPipelines } = opened;
  const { findPipeline } = savedPipelines;
  const { calls, jobs, withdrawals } = opened;
  return {
    ...parts,
    ...retentionView({ ...parts, jobs }, { times, clock: systemClock }),
    withdrawJob: withdrawals.withdrawJob,
    sessions: createSessions(parts.client, calls),
    redeliveries: createDeliveries(parts.client, calls),
    schedules: createSchedules(parts.client),
    health: parts.processHealth.role("gateway"),
    times,
    unserved: createUnservedNotice(
      { ...parts, clock: systemClock },
      parts.config.worker.unservedWaitSeconds * 1000,
    ),
    policy: retentionPolicy(config),
    limits: createOwnerLimits({ ...parts, effectiveLimits }),
    budgets: ownerBudgets(config),
    findPipeline,
    checkDefinition: createCheckDefinition({ ...parts, findPipeline }),
    keyRing,
    authFailures,
    storageDefaults,
    tokens: createTokens({
      secret: await parts.secrets.secret("tokens"),
      keyRing,
      clock: systemClock,
      authFailures,
    }),
    ...(await fileSigning(parts)),
    webhookOf: createWebhookOf(parts.allowedPrivate, config.webhooks),
    clock: systemClock,
    bodyBytesMax: config.server.bodyBytesMax,
    publicUrl: config.server.publicUrl?.replace(/\/+$/, ""),
    filesUrl: config.server.filesUrl?.replace(/\/+$/, ""),
    outputUrls: outputUrls(parts),
    trustProxy: config.server.trustProxy,
    realtime: {
      get idleMs() {
        return config.realtime.idleSeconds * 1000;
      },
      get sessionsMax() {
        return config.realtime.sessionsMax;
      },
    },
    ...overrides,
  };
}

if (isMain(import.meta.url))
  await runRole({
    name: "gateway",
    start: (parts, listeners) => startGateway(parts, {}, undefined, listeners),
    listen: listenWaiting,
  });

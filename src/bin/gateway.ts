import { createDeliveries } from "../adapters/temporal/deliveries.ts";
import { createJobs } from "../adapters/temporal/jobs.ts";
import { createSchedules } from "../adapters/temporal/schedules.ts";
import { createSessions } from "../adapters/temporal/sessions.ts";
import type { ApiDependencies } from "../api/dependencies.ts";
import { createGateway } from "../api/gateway.ts";
import { createKeyRing } from "../api/auth/key-ring.ts";
import { createAllowances } from "../api/limits/owner-quotas.ts";
import { createOwnerLimits } from "../api/limits/owner-limits.ts";
import { createCheckDefinition } from "../api/pipelines/check-definition.ts";
import { createSavedPipelines } from "../api/pipelines/saved-pipelines.ts";
import { createSockets } from "../api/realtime/sockets.ts";
import { createRetentionClock } from "../api/requests/retention-clock.ts";
import { type HttpServer, listen } from "../api/http/listen.ts";
import { createStorageDefaults } from "../api/files/storage-defaults.ts";
import { createTokens } from "../api/auth/tokens.ts";
import { unexpired } from "../api/requests/retention-view.ts";
import { createWebhookOf } from "../api/webhooks/requested-webhook.ts";
import { createClosing } from "../core/operations/closing.ts";
import { steadyClock, systemClock } from "../core/operations/clock.ts";
import type { Parts } from "./parts.ts";
import { retentionPolicy } from "./retention-policy.ts";
import { isMain, type Role, runRole } from "./role.ts";
import { certificateSource, keepCertificateFresh } from "./tls.ts";

/** How long open answers and streams may take to end after a stop. */
const GRACE_MS = 2_000;

/**
 * The public HTTP service, and the same over TLS where that is configured.
 *
 * @param instead parts that a measurement or a test takes the place of
 */
export async function startGateway(
  parts: Parts,
  instead: Partial<ApiDependencies> = {},
): Promise<Role & { port: number; tls: { port: number; caFile?: string } | undefined }> {
  const { config } = parts;
  const certificates = config.tls.enabled ? await certificateSource(config) : undefined;
  const keyRing = await createKeyRing({ keys: parts.keys, clock: steadyClock, hashes: parts.keyHashes });
  const allowances = await createAllowances(parts);
  const times = await createRetentionClock({
    retention: parts.retention,
    policy: retentionPolicy(config),
    log: parts.log,
  });
  const storageDefaults = await createStorageDefaults(parts);
  const savedPipelines = await createSavedPipelines({ pipelines: parts.pipelines, clock: systemClock });
  const { findPipeline } = savedPipelines;
  // What may change while it runs is asked for each time: `config` follows its files.
  const api: ApiDependencies = {
    ...parts,
    ...unexpired(
      { events: parts.events, requests: parts.requests, jobs: createJobs(parts.client) },
      { times, clock: systemClock },
    ),
    times,
    policy: retentionPolicy(config),
    schedules: createSchedules(parts.client),
    limits: createOwnerLimits({ ...parts, allowances }),
    findPipeline,
    checkDefinition: createCheckDefinition({ registry: parts.registry, findPipeline }),
    keyRing,
    storageDefaults,
    tokens: createTokens({ secret: await parts.secrets.secret("tokens"), keyRing, clock: systemClock }),
    uploadSecret: await parts.secrets.secret("uploads"),
    redeliveries: createDeliveries(parts.client),
    webhookOf: createWebhookOf(parts.allowedPrivate, config.webhooks),
    clock: systemClock,
    bodyBytesMax: config.server.bodyBytesMax,
    get runsMax() {
      return config.server.runsMax;
    },
    publicUrl: config.server.publicUrl?.replace(/\/+$/, ""),
    trustProxy: config.server.trustProxy,
    sessions: createSessions(parts.client),
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
    ...instead,
  };
  const app = createGateway(api);
  const sockets = createSockets(api, (request) => app.fetch(request));
  const closing = createClosing();
  closing.defer(() => keyRing[Symbol.asyncDispose]());
  closing.defer(() => savedPipelines[Symbol.asyncDispose]());
  closing.defer(() => times[Symbol.asyncDispose]());
  closing.defer(() => allowances[Symbol.asyncDispose]());
  closing.defer(() => storageDefaults[Symbol.asyncDispose]());
  try {
    const { host, port } = config.server;
    const server = await listen(app, {
      host,
      port,
      name: "gateway",
      setting: "TEMPERA_PORT",
      upgrade: sockets.upgrade,
    });
    const servers: HttpServer[] = [server];
    closing.defer(() => Promise.all(servers.map((each) => each.stop(GRACE_MS))));
    let tls: { port: number; caFile?: string } | undefined;
    if (certificates) {
      const certificate = await certificates.certificate();
      const secure = await listen(app, {
        host,
        port: config.tls.port,
        name: "gateway, TLS",
        setting: "TEMPERA_TLS_PORT",
        tls: certificate,
        upgrade: sockets.upgrade,
      });
      servers.push(secure);
      closing.defer(keepCertificateFresh(secure, certificates, parts.log));
      tls = { port: secure.port, ...(certificates.caFile && { caFile: certificates.caFile }) };
    }
    // Before the listeners, which wait for every connection.
    closing.defer(() => sockets.stop());
    return { port: server.port, tls, stop: () => closing[Symbol.asyncDispose]() };
  } catch (error) {
    await closing[Symbol.asyncDispose]();
    throw error;
  }
}

if (isMain(import.meta.url)) await runRole("gateway", (parts) => startGateway(parts));

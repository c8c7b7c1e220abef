import { Hono } from "hono";
import { createTemporalCalls } from "../adapters/temporal/calls.ts";
import { createDeliveries } from "../adapters/temporal/deliveries.ts";
import { createJobs } from "../adapters/temporal/jobs.ts";
import { createSchedules } from "../adapters/temporal/schedules.ts";
import { type AdminDependencies, createAdmin } from "../api/admin/admin.ts";
import { sweepPushes } from "../api/admin/routes/models/publish-archive.ts";
import { createWaitingAdmin } from "../api/admin/waiting-admin.ts";
import { createAuthFailures } from "../api/auth/auth-failure-limiter.ts";
import { createKeyRing } from "../api/auth/key-ring.ts";
import { listen } from "../api/http/listen.ts";
import { createEffectiveLimits } from "../api/limits/effective-limits.ts";
import { createOwnerLimits } from "../api/limits/owner-limits.ts";
import { createCheckDefinition } from "../api/pipelines/check-definition.ts";
import { createFindPipeline } from "../api/pipelines/saved-pipelines.ts";
import { createIdempotentWrite } from "../api/requests/idempotent-write.ts";
import { createRetentionClock } from "../api/requests/retention-clock.ts";
import { retentionView } from "../api/requests/retention-view.ts";
import { deadLetterRetentionView, searchRetentionView } from "../api/requests/retention-view-lists.ts";
import { createWebhookOf } from "../api/webhooks/requested-webhook.ts";
import type { Config } from "../config/settings.ts";
import { PeriodicTask } from "../core/concurrency/periodic-task.ts";
import { steadyClock, systemClock } from "../core/operations/clock.ts";
import { type CloseStack, closeOnFailure } from "../core/operations/close-stack.ts";
import { engineRunners } from "../gpu-workers/worker/process/engine-programs.ts";
import { ownerBudgets } from "./configured/owner-budgets.ts";
import { retentionPolicy } from "./configured/retention-policy.ts";
import { fileSigning, outputUrls } from "./file-signing.ts";
import { signatureCheckOf } from "./open-registry.ts";
import type { Parts } from "./parts.ts";
import { isMain, type Listeners, type Role, runRole } from "./role.ts";

const GRACE_MS = 2_000;

/** The listener of the admin service. */
interface AdminListeners extends Listeners {
  port: number;
  /** Serves another service from now on. */
  serve(app: Pick<Hono, "fetch">): void;
}

async function openListeners({ server }: Config, first: Pick<Hono, "fetch">): Promise<AdminListeners> {
  let served = first;
  const front = new Hono();
  front.fetch = (...args) => served.fetch(...args);
  const { port, stop } = await listen(front, {
    host: server.host,
    port: server.adminPort,
    name: "admin",
    setting: "TEMPERA_ADMIN_PORT",
  });
  return {
    port,
    serve: (next) => {
      served = next;
    },
    stop: () => stop(GRACE_MS),
  };
}

/**
 * Starts the admin service on its own port. Creates the configured admin key first if it is missing.
 *
 * @param listeners those that are open already
 */
export function startAdmin(parts: Parts, listeners?: AdminListeners): Promise<Role & { port: number }> {
  return closeOnFailure(async (closing) => {
    const { config } = parts;
    if (config.keys.admin && !(await ensureAdminKey(parts, config.keys.admin))) {
      throw new Error(
        "TEMPERA_ADMIN_KEY names a key that was revoked or has another secret; " +
          "set it to a new <uuid>:<secret>.",
      );
    }
    const ports = await adminPorts(parts, closing);
    const app = createAdmin(ports);
    const sweeping = sweepPushesHourly(parts);
    closing.defer(() => sweeping.stop());
    const open = listeners ?? (await openListeners(config, app));
    open.serve(app);
    closing.defer(() => open.stop());
    ports.health.enter("serving");
    return { port: open.port, stop: () => closing[Symbol.asyncDispose]() };
  });
}

/** Composes the ports of the admin service's routes. */
async function adminPorts(parts: Parts, closing: CloseStack): Promise<AdminDependencies> {
  const { config, keys } = parts;
  const calls = createTemporalCalls(parts.client);
  closing.defer(() => calls[Symbol.dispose]());
  const policy = retentionPolicy(config);
  const times = await createRetentionClock({ retention: parts.retention, policy, log: parts.log });
  closing.defer(() => times[Symbol.asyncDispose]());
  const authFailures = createAuthFailures();
  const { keyHashes: hashes, log } = parts;
  const { trustProxy } = config.server;
  const keyRing = await createKeyRing({ keys, clock: steadyClock, hashes, log, trustProxy, authFailures });
  closing.defer(() => keyRing[Symbol.asyncDispose]());
  const effectiveLimits = await createEffectiveLimits(parts);
  closing.defer(() => effectiveLimits[Symbol.asyncDispose]());
  return {
    ...parts,
    ...retentionView(
      { events: parts.events, requests: parts.requests, jobs: createJobs(parts.client, calls) },
      { times, clock: systemClock },
    ),
    requestSearch: searchRetentionView(parts.requestSearch, { times, clock: systemClock }),
    deadLetters: deadLetterRetentionView(parts.deadLetters, { times, clock: systemClock }),
    keyRing,
    authFailures,
    limits: createOwnerLimits({ ...parts, effectiveLimits }),
    budgets: ownerBudgets(config),
    times,
    policy,
    schedules: createSchedules(parts.client),
    health: parts.processHealth.role("admin"),
    idempotentWrite: createIdempotentWrite(parts, await parts.secrets.secret("idempotent-answers")),
    ...(await fileSigning(parts)),
    outputUrls: outputUrls(parts),
    redeliveries: createDeliveries(parts.client, calls),
    checkDefinition: createCheckDefinition({
      ...parts,
      findPipeline: createFindPipeline(parts),
    }),
    webhookOf: createWebhookOf(parts.allowedPrivate, config.webhooks),
    crashesOfOwnerMax: config.worker.crashesOfOwner,
    webhookSources: (config.outbound.sources ?? "").split(",").flatMap((range) => range.trim() || []),
    temporalUiOrigins: temporalUiOrigins(config),
    clock: systemClock,
    checkPackage: (content) => parts.packageThread.check(content, engineRunners(config.engines.programs)),
    checkSignature: signatureCheckOf(config),
    trustProxy: config.server.trustProxy,
  };
}

/** Removes what pushes left whose process was killed, at start and every hour. */
function sweepPushesHourly(parts: Parts): PeriodicTask {
  return new PeriodicTask(() => sweepPushes({ ...parts, clock: systemClock }), {
    everyMs: 3_600_000,
    description: "removing the remains of interrupted pushes",
    log: parts.log,
    startsAtOnce: true,
  });
}

/** Gives the origin of the configured Temporal UI, else both origins of the embedded one. */
function temporalUiOrigins({ temporal }: Config): string[] {
  if (temporal.uiOrigin) return [new URL(temporal.uiOrigin).origin];
  return temporal.address
    ? []
    : [`http://localhost:${temporal.uiPort}`, `http://127.0.0.1:${temporal.uiPort}`];
}

/**
 * Creates the key `<uuid>:<secret>` of scope ADMIN if it does not exist. Resolves to false when the key was
 * revoked or has another secret.
 */
export async function ensureAdminKey(
  { keys, keyHashes }: Pick<Parts, "keys" | "keyHashes">,
  credential: string,
): Promise<boolean> {
  const colon = credential.indexOf(":");
  const keyId = credential.slice(0, colon);
  const secret = credential.slice(colon + 1);
  const isUsable = async (): Promise<boolean | undefined> => {
    const known = await keys.find(keyId.toLowerCase());
    return known && keyHashes.matches(known, secret) && known.revokedAtMs === undefined;
  };
  const existing = await isUsable();
  if (existing !== undefined) return existing;
  try {
    await keys.insert({
      keyId: keyId.toLowerCase(),
      ownerId: "admin",
      alias: "first key",
      scope: "ADMIN",
      ...keyHashes.digest(secret),
      createdAtMs: systemClock.nowMs(),
    });
    return true;
  } catch (error) {
    // Another admin service that is starting may have created it.
    const created = await isUsable();
    if (created === undefined) throw error;
    return created;
  }
}

if (isMain(import.meta.url))
  await runRole({
    name: "admin",
    start: startAdmin,
    listen: ({ config, ...waiting }) => openListeners(config, createWaitingAdmin(waiting)),
  });

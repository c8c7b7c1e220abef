import { resolve } from "node:path";
import { createDeliveries } from "../adapters/temporal/deliveries.ts";
import { createJobs } from "../adapters/temporal/jobs.ts";
import { createSchedules } from "../adapters/temporal/schedules.ts";
import { createAdmin } from "../api/admin/admin.ts";
import { sweepPushes } from "../api/admin/routes/models/publish-archive.ts";
import { createKeyRing } from "../api/auth/key-ring.ts";
import { listen } from "../api/http/listen.ts";
import { createCheckDefinition } from "../api/pipelines/check-definition.ts";
import { createFindPipeline } from "../api/pipelines/saved-pipelines.ts";
import { createIdempotentWrite } from "../api/requests/idempotent-write.ts";
import { createRetentionClock } from "../api/requests/retention-clock.ts";
import { retentionView } from "../api/requests/retention-view.ts";
import { deadLetterRetentionView, searchRetentionView } from "../api/requests/retention-view-lists.ts";
import { createWebhookOf } from "../api/webhooks/requested-webhook.ts";
import type { Config } from "../config/settings.ts";
import { errorInfo } from "../core/errors/tempera-error.ts";
import { steadyClock, systemClock } from "../core/operations/clock.ts";
import { createManifestCheck } from "../registry/package-check.ts";
import { PROJECT } from "./open-registry.ts";
import type { Parts } from "./parts.ts";
import { retentionPolicy } from "./retention-policy.ts";
import { isMain, type Role, runRole } from "./role.ts";

const GRACE_MS = 2_000;

/** Starts the admin service on its own port. Creates the configured admin key first if it is missing. */
export async function startAdmin(parts: Parts): Promise<Role & { port: number }> {
  const { config, keys } = parts;
  if (config.keys.admin && !(await ensureAdminKey(parts, config.keys.admin))) {
    throw new Error(
      "TEMPERA_ADMIN_KEY names a key that was revoked or has another secret; " +
        "set it to a new <uuid>:<secret>.",
    );
  }
  const policy = retentionPolicy(config);
  const times = await createRetentionClock({ retention: parts.retention, policy, log: parts.log });
  const keyRing = await createKeyRing({ keys, clock: steadyClock, hashes: parts.keyHashes, log: parts.log });
  const app = createAdmin({
    ...parts,
    ...retentionView(
      { events: parts.events, requests: parts.requests, jobs: createJobs(parts.client) },
      { times, clock: systemClock },
    ),
    requestSearch: searchRetentionView(parts.requestSearch, { times, clock: systemClock }),
    deadLetters: deadLetterRetentionView(parts.deadLetters, { times, clock: systemClock }),
    keyRing,
    times,
    policy,
    schedules: createSchedules(parts.client),
    idempotentWrite: createIdempotentWrite(parts, await parts.secrets.secret("idempotent-answers")),
    uploadSecret: await parts.secrets.secret("uploads"),
    redeliveries: createDeliveries(parts.client),
    checkDefinition: createCheckDefinition({
      registry: parts.registry,
      findPipeline: createFindPipeline(parts.pipelines, parts.config.inputs.coercion),
    }),
    webhookOf: createWebhookOf(parts.allowedPrivate, config.webhooks),
    webhookSources: (config.outbound.sources ?? "").split(",").flatMap((range) => range.trim() || []),
    temporalUiOrigins: temporalUiOrigins(config),
    clock: systemClock,
    checkManifest: createManifestCheck(resolve(PROJECT, config.folders.schemas), parts.log),
    trustProxy: config.server.trustProxy,
  });
  const sweeping = sweepPushesHourly(parts);
  const server = await listen(app, {
    host: config.server.host,
    port: config.server.adminPort,
    name: "admin",
    setting: "TEMPERA_ADMIN_PORT",
  });
  return {
    port: server.port,
    stop: async () => {
      await server.stop(GRACE_MS);
      clearInterval(sweeping);
      await keyRing[Symbol.asyncDispose]();
      await times[Symbol.asyncDispose]();
    },
  };
}

/** Removes what pushes left whose process was killed, at start and every hour. */
function sweepPushesHourly(parts: Parts): NodeJS.Timeout {
  const sweep = (): void =>
    void sweepPushes({ ...parts, clock: systemClock }).catch((error) =>
      parts.log.warn({ err: errorInfo(error) }, "remains of interrupted pushes could not be removed"),
    );
  sweep();
  return setInterval(sweep, 3_600_000).unref();
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

if (isMain(import.meta.url)) await runRole("admin", startAdmin);

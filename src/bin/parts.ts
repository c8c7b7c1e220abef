import { hostname } from "node:os";
import { join, resolve } from "node:path";
import type { Client } from "@temporalio/client";
import type { DataConverter, PayloadCodec } from "@temporalio/common";
import type { NativeConnection } from "@temporalio/worker";
import { createMemoryEventLog } from "../adapters/memory/event-log.ts";
import { createMemoryFrameChannel } from "../adapters/memory/frame-channel.ts";
import { createMemoryQuotas } from "../adapters/memory/quotas.ts";
import { createFileObjectStore } from "../adapters/object-store/file-object-store.ts";
import { createS3ObjectStore } from "../adapters/object-store/s3-object-store.ts";
import { createAuditLog } from "../adapters/postgres/operations/audit-log.ts";
import { createClaimStore } from "../adapters/postgres/requests/idempotency-store.ts";
import { connectPostgres } from "../adapters/postgres/connection.ts";
import { createDeadLetterStore } from "../adapters/postgres/requests/dead-letter-store.ts";
import { createDeliveryStore } from "../adapters/postgres/webhooks/delivery-store.ts";
import { createEngineBoard } from "../adapters/postgres/engines/engine-status-store.ts";
import { createFileStore } from "../adapters/postgres/files/file-store.ts";
import { createFlagStore } from "../adapters/postgres/models/flag-store.ts";
import { createKeyStore } from "../adapters/postgres/owners/key-store.ts";
import { createPostgresLogSearch } from "../adapters/postgres/requests/log-search.ts";
import { migrate } from "../adapters/postgres/migrate.ts";
import { createModelVersionStore } from "../adapters/postgres/models/model-version-store.ts";
import { createNodeResultStore } from "../adapters/postgres/pipelines/node-result-store.ts";
import { createOwnerDirectory } from "../adapters/postgres/owners/owner-directory.ts";
import { createOwnerLoad } from "../adapters/postgres/owners/owner-load.ts";
import { createPayloadKeyRecord } from "../adapters/postgres/operations/payload-key-record.ts";
import { createPipelineRunStore } from "../adapters/postgres/pipelines/pipeline-run-store.ts";
import { createPipelineStore } from "../adapters/postgres/pipelines/pipeline-store.ts";
import { createPlaceStore } from "../adapters/postgres/owners/concurrency-slot-store.ts";
import { createPlanStore } from "../adapters/postgres/owners/plan-store.ts";
import { createRegistryChanges } from "../adapters/postgres/models/registry-changes.ts";
import { createRequestSearch } from "../adapters/postgres/requests/request-search.ts";
import { createRequestStore } from "../adapters/postgres/requests/request-store.ts";
import { createRetentionStore } from "../adapters/postgres/operations/retention-store.ts";
import { createRolloutStore } from "../adapters/postgres/models/rollout-store.ts";
import { createSecretStore } from "../adapters/postgres/operations/secret-store.ts";
import { createSigningKeyStore } from "../adapters/postgres/webhooks/signing-key-store.ts";
import { createStorageControl } from "../adapters/postgres/files/storage-control.ts";
import { createUsageLedger } from "../adapters/postgres/owners/usage-ledger.ts";
import { createRedisEventLog } from "../adapters/redis/event-log.ts";
import { createRedisFrameChannel } from "../adapters/redis/frame-channel.ts";
import { createRedisQuotas } from "../adapters/redis/quotas.ts";
import { createOpenSearchLogSearch } from "../adapters/search/opensearch-log-search.ts";
import { connectTemporal } from "../adapters/temporal/connect.ts";
import { createPayloadCodec } from "../adapters/temporal/payload-codec.ts";
import { prepareTemporal } from "../adapters/temporal/prepare.ts";
import { installRuntime } from "../adapters/temporal/worker/runtime.ts";
import { createKeyHashes, type KeyHashes } from "../api/auth/key-hashes.ts";
import type { Config } from "../config/settings.ts";
import { type AllowedPrivate, parseAllowedPrivate } from "../core/operations/address-policy.ts";
import { createClosing } from "../core/operations/closing.ts";
import type { Flags } from "../core/models/flags.ts";
import type { AuditLog } from "../core/operations/audit-log.ts";
import type { ClaimStore } from "../core/requests/idempotency-store.ts";
import { systemClock } from "../core/operations/clock.ts";
import type { DeadLetterStore } from "../core/requests/dead-letter-store.ts";
import type { DeliveryStore } from "../core/webhooks/delivery-store.ts";
import type { EngineBoard } from "../core/engines/engine-status-store.ts";
import type { EventLog } from "../core/requests/event-log.ts";
import type { FileStore } from "../core/files/file-store.ts";
import type { FlagStore } from "../core/models/flag-store.ts";
import type { KeyStore } from "../core/owners/key-store.ts";
import type { Log } from "../core/operations/log.ts";
import type { LogSearch } from "../core/requests/log-search.ts";
import type { ModelVersionStore } from "../core/models/model-version-store.ts";
import type { NodeResults } from "../core/pipelines/node-result-store.ts";
import type { ObjectStore } from "../core/files/object-store.ts";
import type { OwnerDirectory } from "../core/owners/owner-directory.ts";
import type { OwnerLoad } from "../core/owners/owner-load.ts";
import type { PipelineRuns } from "../core/pipelines/pipeline-run-store.ts";
import type { PipelineStore } from "../core/pipelines/pipeline-store.ts";
import type { ConcurrencySlotStore } from "../core/owners/concurrency-slot-store.ts";
import type { PlanStore } from "../core/owners/plan-store.ts";
import type { Quotas } from "../core/owners/quotas.ts";
import type { RequestSearch } from "../core/requests/request-search.ts";
import type { RequestStore } from "../core/requests/request-store.ts";
import type { RetentionStore } from "../core/operations/retention-store.ts";
import type { RolloutStore } from "../core/models/rollout-store.ts";
import type { SecretStore } from "../core/operations/secret-store.ts";
import type { FrameChannel } from "../core/requests/sessions.ts";
import type { SigningKeys } from "../core/webhooks/signing-key-store.ts";
import type { StorageControl } from "../core/files/storage-control.ts";
import type { UsageLedger } from "../core/owners/usage-ledger.ts";
import { createLiveRegistry, type LiveRegistry } from "../registry/live-registry.ts";
import type { Registry } from "../registry/registry.ts";
import { ENCODED_FAILURES } from "./open-registry.ts";
import { guardPayloadKeys, payloadKeysOf } from "./payload-keys.ts";
import { readServiceTls } from "./service-tls.ts";

/** The services a process talks to, each by its address. What is `undefined` is the in-process default. */
export interface Addresses {
  temporal: string;
  databaseUrl: string;
  redisUrl?: string;
  s3?: { endpoint: string; accessKey: string; secretKey: string };
}

/** What every role is made of, opened once a process. */
export interface Parts extends AsyncDisposable {
  config: Config;
  log: Log;
  /** What can be called, and what is switched on: kept up to date. */
  registry: LiveRegistry;
  liveRegistry: LiveRegistry;
  flags: Flags;
  modelVersions: ModelVersionStore;
  rollouts: RolloutStore;
  flagStore: FlagStore;
  events: EventLog;
  /** The way of realtime frames between gateways and GPU workers. */
  frames: FrameChannel;
  requests: RequestStore;
  /** Those of pipelines, with their nodes. */
  pipelineRuns: PipelineRuns;
  /** Results of pipelines' nodes, to be reused. */
  nodeResults: NodeResults;
  requestSearch: RequestSearch;
  keys: KeyStore;
  owners: OwnerDirectory;
  /** How the secrets of keys are stored. */
  keyHashes: KeyHashes;
  /** Who changed what. */
  audit: AuditLog;
  secrets: SecretStore;
  objects: ObjectStore;
  files: FileStore;
  storage: StorageControl;
  signingKeys: SigningKeys;
  deliveries: DeliveryStore;
  deadLetters: DeadLetterStore;
  /** What requests cost. */
  ledger: UsageLedger;
  /** What retention reads and deletes. */
  retention: RetentionStore;
  /** Searches in log lines. */
  logSearch: LogSearch;
  /** What GPU workers say of their engines. */
  engines: EngineBoard;
  pipelines: PipelineStore;
  /** What owners and keys may use. */
  plans: PlanStore;
  /** Counters of rates, shared by the gateways. */
  quotas: Quotas;
  /** What owners have in hand. */
  load: OwnerLoad;
  /** The right to run, of owners who may run so many at once. */
  places: ConcurrencySlotStore;
  /** What idempotency keys were used for. */
  claims: ClaimStore;
  /** What callers' addresses may lead to beside the public Internet. */
  allowedPrivate: AllowedPrivate;
  client: Client;
  /** The client's, which workers poll on as well. */
  connection: NativeConnection;
  /** What encrypts what Temporal stores, where keys are configured; only decrypts where they are not. */
  payloadCodec: Required<PayloadCodec>;
  /** The same for workers, which write failures as well. */
  dataConverter: DataConverter;
  /** Base of the URLs of artifacts. */
  publicUrl: string;
  /** Who this process is, in the Temporal UI and in events. */
  identity: string;
}

/**
 * Opens stores and Temporal. Rejects with the first thing that cannot be had, in a sentence that names it and
 * its remedy.
 *
 * @param packages what lies in the models folder
 */
export async function openParts(
  config: Config,
  packages: Registry,
  addresses: Addresses,
  log: Log,
): Promise<Parts> {
  const closing = createClosing();
  installRuntime(log);
  const payloadKeys = payloadKeysOf(config);
  // Also without keys: it says which one is missing for what was encrypted before.
  const payloadCodec = createPayloadCodec(payloadKeys);
  try {
    const database = (async () => {
      const tls = await readServiceTls(config, "postgres");
      await migrate(addresses.databaseUrl, { tls });
      const sql = connectPostgres(addresses.databaseUrl, {
        maxConnections: config.postgres.connectionsMax,
        tls,
      });
      closing.defer(() => sql.end({ timeout: 2 }));
      return sql;
    })();
    const temporal = (async () => {
      const tls = await readServiceTls(config, "temporal");
      const { namespace } = config.temporal;
      const connected = await connectTemporal({
        address: addresses.temporal,
        namespace,
        tls,
        codec: payloadCodec,
      });
      closing.defer(() => connected.connection.close());
      await prepareTemporal(connected.client);
      return connected;
    })();
    const [sql, { client, connection }] = await Promise.all([database, temporal]);
    const stopNoting = await guardPayloadKeys(payloadKeys, createPayloadKeyRecord(sql));
    closing.defer(async () => stopNoting());
    const redisTls = await readServiceTls(config, "redis");
    const events = addresses.redisUrl
      ? createRedisEventLog({
          url: addresses.redisUrl,
          tls: redisTls,
          prefix: config.redis.prefix,
          log: (line) => log.warn({}, line),
        })
      : createMemoryEventLog();
    closing.defer(() => events.close());
    const frames = addresses.redisUrl
      ? createRedisFrameChannel({ url: addresses.redisUrl, tls: redisTls, prefix: config.redis.prefix })
      : createMemoryFrameChannel();
    closing.defer(() => frames.close());
    const quotas = addresses.redisUrl
      ? createRedisQuotas({
          url: addresses.redisUrl,
          tls: redisTls,
          prefix: config.redis.prefix,
          log: (line) => log.warn({}, `limits: ${line}`),
        })
      : createMemoryQuotas();
    closing.defer(() => quotas.close());
    const objects = addresses.s3
      ? await createS3ObjectStore({
          ...addresses.s3,
          tls: await readServiceTls(config, "objects"),
          bucket: config.objects.bucket,
          region: config.objects.region,
        })
      : createFileObjectStore({ folder: join(resolve(config.folders.data), "objects") });
    const secrets = createSecretStore(sql);
    const [modelVersions, rollouts, flagStore] = [
      createModelVersionStore(sql),
      createRolloutStore(sql),
      createFlagStore(sql),
    ];
    const changes = createRegistryChanges(sql);
    const registry = await createLiveRegistry({
      base: packages,
      versions: modelVersions,
      rollouts,
      flags: flagStore,
      changes,
      log,
    });
    closing.defer(() => registry[Symbol.asyncDispose]());
    return {
      config,
      log,
      registry,
      liveRegistry: registry,
      flags: registry,
      modelVersions,
      rollouts,
      flagStore,
      events,
      frames,
      requests: createRequestStore(sql),
      pipelineRuns: createPipelineRunStore(sql),
      nodeResults: createNodeResultStore(sql),
      requestSearch: createRequestSearch(sql),
      keys: createKeyStore(sql),
      owners: createOwnerDirectory(sql),
      keyHashes: createKeyHashes([...peppersOf(config), await secrets.secret("key-pepper")]),
      audit: createAuditLog(sql),
      secrets,
      signingKeys: createSigningKeyStore(sql, { secrets, clock: systemClock }),
      deliveries: createDeliveryStore(sql),
      deadLetters: createDeadLetterStore(sql),
      ledger: createUsageLedger(sql),
      retention: createRetentionStore(sql),
      logSearch: config.logSearch.url
        ? createOpenSearchLogSearch({ url: config.logSearch.url, index: config.logSearch.index })
        : createPostgresLogSearch(sql),
      engines: createEngineBoard(sql),
      pipelines: createPipelineStore(sql),
      plans: createPlanStore(sql),
      quotas,
      load: createOwnerLoad(sql),
      places: createPlaceStore(sql),
      claims: createClaimStore(sql),
      allowedPrivate: parseAllowedPrivate(config.outbound.privateAddresses ?? ""),
      objects,
      files: createFileStore(sql),
      storage: createStorageControl(sql),
      client,
      connection,
      payloadCodec,
      dataConverter: {
        payloadCodecs: [payloadCodec],
        ...(payloadKeys.newest && { failureConverterPath: ENCODED_FAILURES }),
      },
      publicUrl: (config.server.publicUrl ?? `http://localhost:${config.server.port}`).replace(/\/+$/, ""),
      identity: config.worker.name ?? `${hostname()}:${process.pid}`,
      [Symbol.asyncDispose]: () => closing[Symbol.asyncDispose](),
    };
  } catch (error) {
    await closing[Symbol.asyncDispose]();
    throw error;
  }
}

/** The addresses of a process that stands alone: everything must be configured, since nothing is embedded. */
export function configuredAddresses(config: Config, role: string): Addresses {
  const missing = [
    !config.temporal.address && "TEMPORAL_ADDRESS",
    !config.postgres.url && "DATABASE_URL",
    !config.redis.url && "REDIS_URL",
  ].filter((name) => typeof name === "string");
  if (missing.length > 0) {
    throw new Error(
      `A ${role} in a process of its own needs ${missing.join(", ")}; set ${missing.length === 1 ? "it" : "them"}, or run \`npm start\` for the embedded default.`,
    );
  }
  const s3 = s3Of(config);
  return {
    temporal: config.temporal.address ?? "",
    databaseUrl: config.postgres.url ?? "",
    ...(config.redis.url && { redisUrl: config.redis.url }),
    ...(s3 && { s3 }),
  };
}

/**
 * The configured peppers, newest first. Behind them stands one that the database keeps: what was stored
 * without any stays known.
 */
const peppersOf = ({ keys }: Config): string[] =>
  (keys.pepper ?? "").split(",").flatMap((pepper) => pepper.trim() || []);

/**
 * The configured object store, if one is. Throws when its keys are missing, or it is to speak TLS at an
 * address that says it does not.
 */
export function s3Of({ objects }: Config): Addresses["s3"] {
  if (!objects.endpoint) return undefined;
  if (!objects.accessKey || !objects.secretKey)
    throw new Error("S3_ENDPOINT is set, but not its keys; set S3_ACCESS_KEY and S3_SECRET_KEY.");
  const wantsTls = objects.tls || objects.tlsCa || objects.tlsCert || objects.tlsServerName;
  if (wantsTls && !objects.endpoint.startsWith("https:"))
    throw new Error(
      "TEMPERA_S3_TLS or one of its files is set, but S3_ENDPOINT begins with http://; write https://, or leave them out.",
    );
  return { endpoint: objects.endpoint, accessKey: objects.accessKey, secretKey: objects.secretKey };
}

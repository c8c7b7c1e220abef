import { hostname } from "node:os";
import { join, resolve } from "node:path";
import type { Client } from "@temporalio/client";
import type { DataConverter, PayloadCodec } from "@temporalio/common";
import type { NativeConnection } from "@temporalio/worker";
import { createMemoryStores } from "../adapters/memory/stores.ts";
import { createFileObjectStore } from "../adapters/object-store/file-object-store.ts";
import { createS3ObjectStore } from "../adapters/object-store/s3-object-store.ts";
import { connectPostgres, type Sql } from "../adapters/postgres/connection.ts";
import { migrate } from "../adapters/postgres/migrate.ts";
import { createPostgresStores, type Stores } from "../adapters/postgres/stores.ts";
import { createRedisStores } from "../adapters/redis/stores.ts";
import { createOpenSearchLogSearch } from "../adapters/search/opensearch-log-search.ts";
import { connectTemporal } from "../adapters/temporal/connect.ts";
import { createPayloadCodec } from "../adapters/temporal/payload-codec.ts";
import { prepareTemporal } from "../adapters/temporal/prepare.ts";
import { installRuntime } from "../adapters/temporal/worker/runtime.ts";
import { createKeyHashes, type KeyHashes } from "../api/auth/key-hashes.ts";
import type { Config } from "../config/settings.ts";
import type { EngineStores } from "../core/engines/stores.ts";
import type { ObjectStore } from "../core/files/object-store.ts";
import type { FileStores } from "../core/files/stores.ts";
import type { Flags } from "../core/models/flags.ts";
import type { ModelStores } from "../core/models/stores.ts";
import { type AllowedPrivate, parseAllowedPrivate } from "../core/operations/address-policy.ts";
import { systemClock } from "../core/operations/clock.ts";
import { type CloseStack, createCloseStack } from "../core/operations/close-stack.ts";
import type { LiveStores } from "../core/operations/live-stores.ts";
import type { Log } from "../core/operations/log.ts";
import type { PayloadKeys } from "../core/operations/payload-keys.ts";
import type { OperationStores } from "../core/operations/stores.ts";
import type { OwnerStores } from "../core/owners/stores.ts";
import type { PipelineStores } from "../core/pipelines/stores.ts";
import type { RequestStores } from "../core/requests/stores.ts";
import type { WebhookStores } from "../core/webhooks/stores.ts";
import { createLiveRegistry, type LiveRegistry } from "../registry/live-registry.ts";
import type { Registry } from "../registry/registry.ts";
import type { Addresses } from "./addresses.ts";
import { ENCODED_FAILURES, warnOfMissingCalls } from "./open-registry.ts";
import { guardPayloadKeys, payloadKeysOf } from "./payload-keys.ts";
import { readServiceTls } from "./service-tls.ts";

/** The process itself. */
export interface ProcessParts extends AsyncDisposable {
  config: Config;
  log: Log;
  /** Base of the URLs of artifacts. */
  publicUrl: string;
  /** Name of this process in the Temporal UI and in events. */
  identity: string;
  /** Private addresses that callers' URLs may lead to, beside the public Internet. */
  allowedPrivate: AllowedPrivate;
  /** Hashes the secrets of API keys. */
  keyHashes: KeyHashes;
}

/** The connection to Temporal. */
export interface TemporalParts {
  client: Client;
  /** The connection of the client, on which workers poll as well. */
  connection: NativeConnection;
  /** Encrypts payloads where keys are configured, and decrypts those that were encrypted before. */
  payloadCodec: Required<PayloadCodec>;
  /** The codec as workers take it: they encode failures too. */
  dataConverter: DataConverter;
}

/** The registry, kept up to date, under the names of its three uses. */
export interface RegistryParts {
  /** The endpoints that can be called. */
  registry: LiveRegistry;
  /** The same with its published versions, rollouts and disabled endpoints. */
  liveRegistry: LiveRegistry;
  /** The feature flags. */
  flags: Flags;
}

/** The durable stores of every subject, side by side. */
export type DurableStores = RequestStores &
  ModelStores &
  PipelineStores &
  FileStores &
  OwnerStores &
  EngineStores &
  WebhookStores &
  OperationStores;

/**
 * Everything that a role is composed of, opened once for the process. A new store is a field of its subject's
 * group (`src/core/<subject>/stores.ts`) and a line in `createPostgresStores`; nothing changes here.
 */
export type Parts = ProcessParts &
  TemporalParts &
  RegistryParts &
  LiveStores &
  DurableStores & { objects: ObjectStore };

/**
 * Opens the stores and Temporal. Rejects with a sentence that names the first service that cannot be used,
 * and the remedy.
 *
 * @param packages the content of the models folder
 */
export async function openParts(
  config: Config,
  packages: Registry,
  addresses: Addresses,
  log: Log,
): Promise<Parts> {
  const closing = createCloseStack();
  installRuntime(log);
  const payloadKeys = payloadKeysOf(config);
  try {
    const [sql, temporal] = await Promise.all([
      openDatabase(config, addresses, closing),
      openTemporal(config, addresses, payloadKeys, closing),
    ]);
    const stores = createPostgresStores(sql, { clock: systemClock });
    const { secrets, payloadKeyRecord } = stores.operations;
    const stopRecording = await guardPayloadKeys(payloadKeys, payloadKeyRecord);
    closing.defer(async () => stopRecording());
    const live = await openLiveStores(config, addresses, log, closing);
    const objects = await openObjectStore(config, addresses);
    const registry = await createLiveRegistry({
      base: packages,
      versions: stores.models.modelVersions,
      rollouts: stores.models.rollouts,
      flags: stores.models.flagStore,
      changes: stores.models.registryChanges,
      log,
    });
    closing.defer(() => registry[Symbol.asyncDispose]());
    warnOfMissingCalls(registry, log);
    return {
      ...allStores(stores),
      ...(config.logSearch.url && {
        logSearch: createOpenSearchLogSearch({ url: config.logSearch.url, index: config.logSearch.index }),
      }),
      ...live,
      ...temporal,
      ...{ registry, liveRegistry: registry, flags: registry },
      objects,
      config,
      log,
      publicUrl: (config.server.publicUrl ?? `http://localhost:${config.server.port}`).replace(/\/+$/, ""),
      identity: config.worker.name ?? `${hostname()}:${process.pid}`,
      allowedPrivate: parseAllowedPrivate(config.outbound.privateAddresses ?? ""),
      keyHashes: createKeyHashes([...configuredPeppers(config), await secrets.secret("key-pepper")]),
      [Symbol.asyncDispose]: () => closing[Symbol.asyncDispose](),
    };
  } catch (error) {
    await closing[Symbol.asyncDispose]();
    throw error;
  }
}

const allStores = (stores: Stores): DurableStores => ({
  ...stores.requests,
  ...stores.models,
  ...stores.pipelines,
  ...stores.files,
  ...stores.owners,
  ...stores.engines,
  ...stores.webhooks,
  ...stores.operations,
});

/** Connects to PostgreSQL and brings its schema up to date. */
async function openDatabase(config: Config, { databaseUrl }: Addresses, closing: CloseStack): Promise<Sql> {
  const tls = await readServiceTls(config, "postgres");
  await migrate(databaseUrl, { tls });
  const sql = connectPostgres(databaseUrl, { maxConnections: config.postgres.connectionsMax, tls });
  closing.defer(() => sql.end({ timeout: 2 }));
  return sql;
}

/** Connects to Temporal, and creates its namespace and search attributes if they are missing. */
async function openTemporal(
  config: Config,
  { temporal: address }: Addresses,
  payloadKeys: PayloadKeys,
  closing: CloseStack,
): Promise<TemporalParts> {
  // Needed without keys too: the codec then names the key that encrypted the existing payloads.
  const payloadCodec = createPayloadCodec(payloadKeys);
  const tls = await readServiceTls(config, "temporal");
  const { namespace } = config.temporal;
  const { client, connection } = await connectTemporal({ address, namespace, tls, codec: payloadCodec });
  closing.defer(() => connection.close());
  await prepareTemporal(client);
  return {
    client,
    connection,
    payloadCodec,
    dataConverter: {
      payloadCodecs: [payloadCodec],
      ...(payloadKeys.newest && { failureConverterPath: ENCODED_FAILURES }),
    },
  };
}

async function openLiveStores(
  config: Config,
  { redisUrl }: Addresses,
  log: Log,
  closing: CloseStack,
): Promise<LiveStores> {
  const tls = await readServiceTls(config, "redis");
  const live = redisUrl
    ? createRedisStores({
        url: redisUrl,
        tls,
        prefix: config.redis.prefix,
        warn: (message) => log.warn({}, message),
      })
    : createMemoryStores();
  for (const store of Object.values(live)) closing.defer(() => store.close());
  return live;
}

async function openObjectStore(config: Config, { s3 }: Addresses): Promise<ObjectStore> {
  if (!s3) return createFileObjectStore({ folder: join(resolve(config.folders.data), "objects") });
  const { bucket, region } = config.objects;
  return createS3ObjectStore({ ...s3, tls: await readServiceTls(config, "objects"), bucket, region });
}

/**
 * Reads the configured peppers, newest first. The pepper in the database follows them, so that keys stored
 * without a configured pepper are still recognised.
 */
const configuredPeppers = ({ keys }: Config): string[] =>
  (keys.pepper ?? "").split(",").flatMap((pepper) => pepper.trim() || []);

/**
 * The services of a process: PostgreSQL, Temporal, Redis and the object store. Each is joined in the
 * background as soon as it can be used, so that a role starts without it (docs/decisions/0030).
 */
import { join, resolve } from "node:path";
import type { Client } from "@temporalio/client";
import type { DataConverter, PayloadCodec } from "@temporalio/common";
import type { NativeConnection } from "@temporalio/worker";
import { createMemoryStores } from "../adapters/memory/stores.ts";
import { createFileObjectStore } from "../adapters/object-store/file-object-store.ts";
import { createLazyObjectStore } from "../adapters/object-store/lazy-object-store.ts";
import { createS3ObjectStore } from "../adapters/object-store/s3-object-store.ts";
import { checkPostgres } from "../adapters/postgres/check.ts";
import { connectPostgres, type Sql } from "../adapters/postgres/connection.ts";
import { migrate } from "../adapters/postgres/migrate.ts";
import { reachPostgres } from "../adapters/postgres/reach.ts";
import { createPostgresStores, type Stores } from "../adapters/postgres/stores.ts";
import { createRedisCheck } from "../adapters/redis/check.ts";
import { createRedisStores } from "../adapters/redis/stores.ts";
import { checkTemporal } from "../adapters/temporal/check.ts";
import { createLazyTemporal } from "../adapters/temporal/connect.ts";
import { dataConverterOf } from "../adapters/temporal/data-converter.ts";
import { createPayloadCodec } from "../adapters/temporal/payload-codec.ts";
import { installRuntime } from "../adapters/temporal/worker/runtime.ts";
import { createKeyHashes, type KeyHashes } from "../api/auth/key-hashes.ts";
import type { Config } from "../config/settings.ts";
import type { LazyConnection } from "../core/concurrency/lazy-connection.ts";
import type { ObjectStore } from "../core/files/object-store.ts";
import { systemClock } from "../core/operations/clock.ts";
import { type CloseStack, closeOnFailure } from "../core/operations/close-stack.ts";
import type { LiveStores } from "../core/operations/live-stores.ts";
import type { Log } from "../core/operations/log.ts";
import type { PayloadKeys } from "../core/operations/payload-keys.ts";
import { newRequestId } from "../core/requests/request-id.ts";
import { checkObjects, ServiceProbes } from "../maintenance/service-probes.ts";
import { createLiveRegistry, type LiveRegistry } from "../registry/live-registry.ts";
import { PackageThread } from "../registry/package-thread/package-thread.ts";
import { createVerifyVersion } from "../registry/packages/verify-version.ts";
import type { Registry } from "../registry/registry.ts";
import type { Addresses } from "./addresses.ts";
import { guardPayloadKeys, payloadKeysOf } from "./configured/payload-keys.ts";
import {
  ENCODED_FAILURES,
  PROJECT,
  signatureCheckOf,
  warnOfMissingCalls,
  warnOfSlips,
} from "./open-registry.ts";
import type { ServiceJoins } from "./service-joins.ts";
import { readServiceTls } from "./service-tls.ts";

/** The connection to Temporal. */
export interface TemporalParts {
  /** Its calls are refused until Temporal was reached. */
  client: Client;
  /** Resolves when Temporal was reached: workers poll on this connection. */
  connected: Promise<NativeConnection>;
  /** Encrypts payloads where keys are configured, and decrypts those that were encrypted before. */
  payloadCodec: Required<PayloadCodec>;
  /** The codec as workers take it: they encode failures too. */
  dataConverter: DataConverter;
}

/** All that comes from PostgreSQL. Nothing of it is known before the database was reached. */
export interface Database extends AsyncDisposable {
  stores: Stores;
  registry: LiveRegistry;
  keyHashes: KeyHashes;
}

/** The services of a process, reached or not. */
export interface Services {
  database: LazyConnection<Database>;
  temporal: TemporalParts;
  /** In Redis, or in memory. Reconnects by itself, and rejects its calls meanwhile. */
  live: LiveStores;
  objects: ObjectStore;
  /** Checks model packages, pushed ones and those of the database. */
  packageThread: PackageThread;
}

export interface ServicesOptions {
  config: Config;
  /** The content of the models folder. */
  packages: Registry;
  addresses: Addresses;
  joins: ServiceJoins;
  log: Log;
  closing: CloseStack;
}

/**
 * Begins to join all services. Rejects only for a configuration that is invalid in itself, such as a
 * certificate file that cannot be read.
 */
export async function openServices(options: ServicesOptions): Promise<Services> {
  installRuntime(options.log);
  const payloadKeys = payloadKeysOf(options.config);
  // Every setting is read before the first service is tried.
  const tls = {
    postgres: await readServiceTls(options.config, "postgres"),
    temporal: (await readServiceTls(options.config, "temporal")) ?? options.addresses.temporalTls,
    redis: await readServiceTls(options.config, "redis"),
    objects: await readServiceTls(options.config, "objects"),
  };
  const sql = openDatabase(options, tls);
  const { config, log, closing } = options;
  const packageThread = new PackageThread({ schemasFolder: resolve(PROJECT, config.folders.schemas), log });
  closing.defer(() => packageThread[Symbol.asyncDispose]());
  const services = {
    packageThread,
    database: joinDatabase(options, { sql, tls, payloadKeys, packageThread }),
    temporal: joinTemporal(options, tls, payloadKeys),
    live: joinLiveStores(options, tls),
    objects: joinObjects(options, tls),
  };
  startProbes(options, tls, { ...services, sql });
  return services;
}

function openDatabase(
  { config, addresses: { databaseUrl }, closing }: ServicesOptions,
  { postgres: tls }: TlsSettings,
): Sql {
  const sql = connectPostgres(databaseUrl, { maxConnections: config.postgres.connectionsMax, tls });
  closing.defer(() => sql.end({ timeout: 2 }));
  return sql;
}

/** Starts the probes that keep the states of the services true (docs/health.md). */
function startProbes(
  { config, addresses: { redisUrl: url }, joins, log, closing }: ServicesOptions,
  { redis: tls }: TlsSettings,
  { sql, database, temporal, objects }: Services & { sql: Sql },
): void {
  const redis = url ? createRedisCheck({ url, tls, prefix: config.redis.prefix }) : undefined;
  closing.defer(() => redis?.close());
  const probes = new ServiceProbes({
    services: joins.health,
    log,
    checks: {
      postgres: async () => {
        // It answers while its schema is brought up to date; until then it cannot be used.
        if (!database.isOpen) throw joins.errorOf("postgres");
        await checkPostgres(sql);
      },
      temporal: () => checkTemporal(temporal.client),
      ...(redis && { redis: redis.check }),
      objects: () => checkObjects(objects),
    },
  });
  closing.defer(() => probes.stop());
}

type TlsSettings = Record<
  "postgres" | "temporal" | "redis" | "objects",
  Awaited<ReturnType<typeof readServiceTls>>
>;

interface DatabaseJoin extends Pick<Services, "packageThread"> {
  sql: Sql;
  tls: TlsSettings;
  payloadKeys: PayloadKeys;
}

/** Brings the schema up to date, then reads what every role needs. */
function joinDatabase(
  { config, packages, addresses: { databaseUrl }, joins, log, closing }: ServicesOptions,
  { sql, tls: { postgres: tls }, payloadKeys, packageThread }: DatabaseJoin,
): LazyConnection<Database> {
  const checkSignature = signatureCheckOf(config);
  const stores = createPostgresStores(sql, { clock: systemClock });
  const { secrets, payloadKeyRecord } = stores.operations;
  const open = () =>
    closeOnFailure(async (opened) => {
      await reachPostgres(sql, databaseUrl);
      await migrate(databaseUrl, { tls });
      const recording = await guardPayloadKeys(payloadKeys, payloadKeyRecord, log);
      opened.defer(() => recording.stop());
      const keyHashes = createKeyHashes([...configuredPeppers(config), await secrets.secret("key-pepper")]);
      const registry = await createLiveRegistry({
        base: packages,
        versions: stores.models.modelVersions,
        rollouts: stores.models.rollouts,
        flags: stores.models.flagStore,
        changes: stores.models.registryChanges,
        log,
        ...(checkSignature && {
          verify: createVerifyVersion((content) => packageThread.check(content), checkSignature),
        }),
      });
      opened.defer(() => registry[Symbol.asyncDispose]());
      warnOfMissingCalls(registry, log);
      warnOfSlips(packages, config, log);
      const close = () => opened[Symbol.asyncDispose]();
      closing.defer(close);
      return { stores, registry, keyHashes, [Symbol.asyncDispose]: close };
    });
  return joins.join("postgres", open, (database) => database[Symbol.asyncDispose]());
}

/** Connects to Temporal, and creates its namespace and search attributes if they are missing. */
function joinTemporal(
  { config, addresses: { temporal: address }, joins, closing }: ServicesOptions,
  { temporal: tls }: TlsSettings,
  payloadKeys: PayloadKeys,
): TemporalParts {
  // Needed without keys too: the codec then names the key that encrypted the existing payloads.
  const payloadCodec = createPayloadCodec(payloadKeys, config.temporal.payloadBinding);
  const { namespace } = config.temporal;
  const { client, open, close } = createLazyTemporal({ address, namespace, tls, codec: payloadCodec });
  closing.defer(close);
  return {
    client,
    connected: joins.join("temporal", open, (native) => native.close()).ready,
    payloadCodec,
    dataConverter: dataConverterOf(payloadCodec, payloadKeys.newest && ENCODED_FAILURES),
  };
}

function joinLiveStores(
  { config, addresses: { redisUrl: url }, joins, log, closing }: ServicesOptions,
  { redis: tls }: TlsSettings,
): LiveStores {
  const { prefix } = config.redis;
  const live = url
    ? createRedisStores({ url, tls, prefix, warn: (message) => log.warn({}, message) })
    : createMemoryStores();
  for (const store of Object.values(live)) closing.defer(() => store.close());
  if (url) joins.join("redis", () => live.events.snapshot(newRequestId()));
  return live;
}

function joinObjects(
  { config, addresses: { s3 }, joins }: ServicesOptions,
  { objects: tls }: TlsSettings,
): ObjectStore {
  if (!s3) return createFileObjectStore({ folder: join(resolve(config.folders.data), "objects") });
  const { bucket, region } = config.objects;
  const opening = joins.join("objects", () => createS3ObjectStore({ ...s3, tls, bucket, region }));
  return createLazyObjectStore(() => {
    if (opening.current) return opening.current;
    throw joins.errorOf("objects");
  });
}

/**
 * Reads the configured peppers, newest first. The pepper in the database follows them, so that keys stored
 * without a configured pepper are still recognised.
 */
const configuredPeppers = ({ keys }: Config): string[] =>
  (keys.pepper ?? "").split(",").flatMap((pepper) => pepper.trim() || []);

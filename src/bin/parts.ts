import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import type { Stores } from "../adapters/postgres/stores.ts";
import { createOpenSearchLogSearch } from "../adapters/search/opensearch-log-search.ts";
import type { KeyHashes } from "../api/auth/key-hashes.ts";
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
import { ProcessHealth } from "../core/operations/process-health.ts";
import { ServiceHealth } from "../core/operations/service-health.ts";
import type { OperationStores } from "../core/operations/stores.ts";
import type { OwnerStores } from "../core/owners/stores.ts";
import type { PipelineStores } from "../core/pipelines/stores.ts";
import type { RequestStores } from "../core/requests/stores.ts";
import type { WebhookStores } from "../core/webhooks/stores.ts";
import type { LiveRegistry } from "../registry/live-registry.ts";
import type { PackageThread } from "../registry/package-thread/package-thread.ts";
import type { Registry } from "../registry/registry.ts";
import { SchemaThread } from "../registry/schema-thread/schema-thread.ts";
import type { Addresses } from "./addresses.ts";
import { PROJECT } from "./open-registry.ts";
import { ServiceJoins } from "./service-joins.ts";
import { type Database, openServices, type Services, type TemporalParts } from "./services.ts";

/** The process itself. */
export interface ProcessParts extends AsyncDisposable {
  config: Config;
  log: Log;
  /** The health of the services, as this process sees them, and of its roles. */
  processHealth: ProcessHealth;
  /** Base of the URLs in answers, where no caller says otherwise. */
  publicUrl: string;
  /** Base of the URLs of files. */
  filesUrl: string;
  /** Name of this process in the Temporal UI and in events. */
  identity: string;
  /** Private addresses that callers' URLs may lead to, beside the public Internet. */
  allowedPrivate: AllowedPrivate;
  /** Hashes the secrets of API keys. */
  keyHashes: KeyHashes;
}

/** The registry, kept up to date, under the names of its three uses. */
export interface RegistryParts {
  /** The endpoints that can be called. */
  registry: LiveRegistry;
  /** Compiles the schemas of saved pipelines. */
  schemaThread: SchemaThread;
  /** Checks model packages that are pushed. */
  packageThread: PackageThread;
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

const { version: VERSION } = JSON.parse(readFileSync(join(PROJECT, "package.json"), "utf8")) as {
  version: string;
};

/** Services that have to be there when a process embeds services: one of its own did not start. */
const NEEDED = ["postgres", "temporal", "objects"] as const;

/**
 * Opens the services and composes the parts. Rejects with a sentence that names the first service that cannot
 * be used, and the remedy.
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
  try {
    const processHealth = createProcessHealth();
    const health = processHealth.services;
    const joins = new ServiceJoins({ name: "tempera", health, log, needed: NEEDED });
    closing.defer(() => joins[Symbol.dispose]());
    const services = await openServices({ config, packages, addresses, joins, log, closing });
    await joins.firstTries();
    await Promise.all(NEEDED.map((service) => joins.joined(service)));
    return composeParts(services, await services.database.ready, { config, log, processHealth, closing });
  } catch (error) {
    await closing[Symbol.asyncDispose]();
    throw error;
  }
}

/** Creates the health of a process that has just started. */
export function createProcessHealth(): ProcessHealth {
  const clock = systemClock;
  return new ProcessHealth({ services: new ServiceHealth({ clock }), version: VERSION, clock });
}

/** Composes the parts of a role, once the database is there. */
export function composeParts(
  { temporal, live, objects, packageThread }: Services,
  { stores, registry, keyHashes }: Database,
  { closing, ...own }: Pick<ProcessParts, "config" | "log" | "processHealth"> & { closing: CloseStack },
): Parts {
  const { config } = own;
  const { server } = config;
  const schemaThread = new SchemaThread({ coercion: config.inputs.coercion });
  closing.defer(() => schemaThread[Symbol.asyncDispose]());
  const publicUrl = withoutSlash(server.publicUrl ?? `http://localhost:${server.port}`);
  return {
    ...allStores(stores),
    ...(config.logSearch.url && {
      logSearch: createOpenSearchLogSearch({ url: config.logSearch.url, index: config.logSearch.index }),
    }),
    ...live,
    ...temporal,
    ...{ registry, liveRegistry: registry, flags: registry, schemaThread, packageThread },
    objects,
    ...own,
    publicUrl,
    filesUrl: server.filesUrl === undefined ? publicUrl : withoutSlash(server.filesUrl),
    identity: config.worker.name ?? `${hostname()}:${process.pid}`,
    allowedPrivate: parseAllowedPrivate(config.outbound.privateAddresses ?? ""),
    keyHashes,
    [Symbol.asyncDispose]: () => closing[Symbol.asyncDispose](),
  };
}

const withoutSlash = (url: string): string => url.replace(/\/+$/, "");

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

import type { EngineStores } from "../core/engines/stores.ts";
import type { ObjectStore } from "../core/files/object-store.ts";
import type { SignAddress } from "../core/files/private-address.ts";
import type { FileStores } from "../core/files/stores.ts";
import type { Flags } from "../core/models/flags.ts";
import type { ModelStores } from "../core/models/stores.ts";
import type { Clock } from "../core/operations/clock.ts";
import type { LiveStores } from "../core/operations/live-stores.ts";
import type { Log } from "../core/operations/log.ts";
import type { RoleHealth } from "../core/operations/process-health.ts";
import type { RetentionPolicy } from "../core/operations/retention.ts";
import type { Schedules } from "../core/operations/schedules.ts";
import type { OperationStores } from "../core/operations/stores.ts";
import type { ConcurrencySlotStore } from "../core/owners/concurrency-slot-store.ts";
import type { OwnerStores } from "../core/owners/stores.ts";
import type { PipelineStores } from "../core/pipelines/stores.ts";
import type { Jobs } from "../core/requests/jobs.ts";
import type { Sessions } from "../core/requests/sessions.ts";
import type { RequestStores } from "../core/requests/stores.ts";
import type { WithdrawJob } from "../core/requests/withdrawal.ts";
import type { Deliveries } from "../core/webhooks/delivery-store.ts";
import type { WebhookStores } from "../core/webhooks/stores.ts";
import type { Webhook } from "../core/webhooks/webhook.ts";
import type { LiveRegistry } from "../registry/live-registry.ts";
import type { FindPipeline, Registry } from "../registry/registry.ts";
import type { AuthFailures } from "./auth/auth-failure-limiter.ts";
import type { KeyHashes } from "./auth/key-hashes.ts";
import type { KeyRing } from "./auth/key-ring.ts";
import type { Tokens } from "./auth/tokens.ts";
import type { StorageDefaults } from "./files/storage-defaults.ts";
import type { PublicAddresses } from "./http/address.ts";
import type { Budgets } from "./limits/budgets.ts";
import type { OwnerLimits } from "./limits/owner-limits.ts";
import type { CheckDefinition } from "./pipelines/check-definition.ts";
import type { RetentionClock } from "./requests/retention-clock.ts";
import type { UnservedNotice } from "./requests/unserved-notice.ts";

/** Requests, and the jobs and sessions that carry them. */
export interface RequestPorts extends RequestStores, Pick<LiveStores, "events" | "frames"> {
  /** The durable jobs: starts, cancels and describes them. */
  jobs: Jobs;
  /** Ends jobs and sessions whose start is in doubt. */
  withdrawJob: WithdrawJob;
  /** Tells waiting requests that no GPU worker can serve them; absent where no status is answered. */
  unserved?: UnservedNotice;
  /** The realtime sessions. */
  sessions: Sessions;
}

/** The endpoints, their versions and the feature flags. */
export interface ModelPorts extends Omit<ModelStores, "registryChanges"> {
  /** The endpoints that can be called. */
  registry: Registry;
  /** The same with its published versions, rollouts and disabled endpoints, for those who change them. */
  liveRegistry: LiveRegistry;
  flags: Flags;
}

/** Saved pipelines, and the records and results of those that ran. */
export interface PipelinePorts extends PipelineStores {
  /** Finds a saved pipeline by its endpoint. */
  findPipeline: FindPipeline;
  /** Checks a definition before it is saved or run. */
  checkDefinition: CheckDefinition;
}

/** Files: their records and their bytes. */
export interface FilePorts extends FileStores {
  objects: ObjectStore;
  /** The defaults of an owner's new files. */
  storageDefaults: Pick<StorageDefaults, "of">;
  /** Signs upload addresses and the addresses of signed files. */
  uploadSecret: Uint8Array;
  /** Signs the private addresses of answers. */
  signAddress: SignAddress;
}

/** Owners: their keys, plans and limits. */
export interface OwnerPorts extends Omit<OwnerStores, "slots" | "load"> {
  /** Recognises callers by their key. */
  keyRing: KeyRing;
  /** Counts the wrong keys of each address. */
  authFailures: AuthFailures;
  /** Hashes the secrets of keys. */
  keyHashes: KeyHashes;
  /** Short-lived tokens that stand for a key. */
  tokens: Tokens;
  /** Enforces the limits of owners and keys. */
  limits: OwnerLimits;
  /** Shares what this process has of sockets, open calls and memory between owners. */
  budgets: Budgets;
  /** The concurrency slots of owners who have a limit. */
  slots: Pick<ConcurrencySlotStore, "acquire" | "release">;
}

/** Webhooks and their deliveries. */
export interface WebhookPorts extends WebhookStores {
  /** Reads `fal_webhook` of a submit; `undefined` when it is absent. Throws `webhook_invalid`. */
  webhookOf(url: string | undefined): Webhook | undefined;
  /** Starts a delivery again. */
  redeliveries: Deliveries;
}

/** The installation's operation. */
export interface OperationPorts extends Pick<OperationStores, "audit" | "retention"> {
  /** The installation's retention times. */
  policy: RetentionPolicy;
  /** The retention times of each owner; absent where everything is kept for ever. */
  times?: RetentionClock;
  /** The platform's scheduled workflows. */
  schedules: Schedules;
  /** The health of the role that serves the routes. */
  health: RoleHealth;
  clock: Clock;
  log: Log;
}

/** The settings of the HTTP service. */
export interface HttpSettings extends PublicAddresses {
  /** Largest request body, in bytes. */
  bodyBytesMax: number;
  /** Bases of the addresses of files in outputs, as GPU workers write them now, or did before a change. */
  outputUrls?: readonly string[];
  /** Whether `X-Forwarded-Proto` and `X-Forwarded-Host` are believed. */
  trustProxy?: boolean;
  /**
   * `idleMs`: time without inputs and outputs after which a realtime socket is closed. `sessionsMax`:
   * realtime sessions of one owner.
   */
  realtime: { idleMs: number; sessionsMax: number };
}

/**
 * The ports of the HTTP services, a group per subject. A verb asks for those that it uses:
 * `Pick<ApiDependencies, "jobs" | "clock">`. A new store is a field of its subject's group and is here by
 * itself (docs/decisions/0025).
 */
export type ApiDependencies = RequestPorts &
  ModelPorts &
  PipelinePorts &
  FilePorts &
  OwnerPorts &
  EngineStores &
  WebhookPorts &
  OperationPorts &
  HttpSettings;

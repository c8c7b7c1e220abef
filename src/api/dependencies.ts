import type { Flags } from "../core/models/flags.ts";
import type { AuditLog } from "../core/operations/audit-log.ts";
import type { ClaimStore } from "../core/requests/idempotency-store.ts";
import type { Clock } from "../core/operations/clock.ts";
import type { DeadLetterStore } from "../core/requests/dead-letter-store.ts";
import type { Deliveries, DeliveryStore } from "../core/webhooks/delivery-store.ts";
import type { EngineBoard } from "../core/engines/engine-status-store.ts";
import type { EventLog } from "../core/requests/event-log.ts";
import type { FileStore } from "../core/files/file-store.ts";
import type { FlagStore } from "../core/models/flag-store.ts";
import type { Jobs } from "../core/requests/jobs.ts";
import type { KeyStore } from "../core/owners/key-store.ts";
import type { Log } from "../core/operations/log.ts";
import type { LogSearch } from "../core/requests/log-search.ts";
import type { ModelVersionStore } from "../core/models/model-version-store.ts";
import type { NodeResults } from "../core/pipelines/node-result-store.ts";
import type { ObjectStore } from "../core/files/object-store.ts";
import type { OwnerDirectory } from "../core/owners/owner-directory.ts";
import type { PipelineRuns } from "../core/pipelines/pipeline-run-store.ts";
import type { PipelineStore } from "../core/pipelines/pipeline-store.ts";
import type { ConcurrencySlotStore } from "../core/owners/concurrency-slot-store.ts";
import type { PlanStore } from "../core/owners/plan-store.ts";
import type { RequestSearch } from "../core/requests/request-search.ts";
import type { RequestStore } from "../core/requests/request-store.ts";
import type { RetentionStore } from "../core/operations/retention-store.ts";
import type { RolloutStore } from "../core/models/rollout-store.ts";
import type { Schedules } from "../core/operations/schedules.ts";
import type { FrameChannel, Sessions } from "../core/requests/sessions.ts";
import type { SigningKeys } from "../core/webhooks/signing-key-store.ts";
import type { StorageControl } from "../core/files/storage-control.ts";
import type { UsageLedger } from "../core/owners/usage-ledger.ts";
import type { RetentionPolicy } from "../core/operations/retention.ts";
import type { Webhook } from "../core/webhooks/webhook.ts";
import type { LiveRegistry } from "../registry/live-registry.ts";
import type { FindPipeline, Registry } from "../registry/registry.ts";
import type { KeyHashes } from "./auth/key-hashes.ts";
import type { KeyRing } from "./auth/key-ring.ts";
import type { OwnerLimits } from "./limits/owner-limits.ts";
import type { CheckDefinition } from "./pipelines/check-definition.ts";
import type { RetentionClock } from "./requests/retention-clock.ts";
import type { StorageDefaults } from "./files/storage-defaults.ts";
import type { Tokens } from "./auth/tokens.ts";

/** What the verbs are made of. A verb asks for the part it needs. */
export interface ApiDependencies {
  /** What can be called. */
  registry: Registry;
  /** The same with what is published, disabled and rolled out, for those who change that. */
  liveRegistry: LiveRegistry;
  /** What is switched on. */
  flags: Flags;
  /** Where all that is kept. */
  modelVersions: ModelVersionStore;
  rollouts: RolloutStore;
  flagStore: FlagStore;
  /** Saved pipelines, which can be called too. */
  findPipeline: FindPipeline;
  /** What a definition of a pipeline must stand before it is saved or run. */
  checkDefinition: CheckDefinition;
  /** The saved pipelines themselves. */
  pipelines: PipelineStore;
  /** Who is calling. */
  keyRing: KeyRing;
  /** Short-lived tokens that stand for a key. */
  tokens: Tokens;
  /** The durable jobs. */
  jobs: Jobs;
  /** What happens right now. */
  events: EventLog;
  /** What happened. */
  requests: RequestStore;
  /** Results of pipelines' nodes that later ones may take. */
  nodeResults: NodeResults;
  /** What is on record of pipelines that ran. */
  pipelineRuns: PipelineRuns;
  /** The same, as lists look for it. */
  requestSearch: RequestSearch;
  /** The bytes. */
  objects: ObjectStore;
  /** Whose files they are, who may read them, until when. */
  files: FileStore;
  /** Who may read them, as their owners change it. */
  storage: StorageControl;
  /** What an owner's new files get when nothing else is said. */
  storageDefaults: Pick<StorageDefaults, "of">;
  /** What upload addresses and signed file addresses are signed with. */
  uploadSecret: Uint8Array;
  /** What `fal_webhook` of a submit asks for; `undefined` when it is absent. Throws `webhook_invalid`. */
  webhookOf(url: string | undefined): Webhook | undefined;
  /** What webhooks are signed with. */
  signingKeys: SigningKeys;
  /** The record of webhooks on their way. */
  deliveries: DeliveryStore;
  /** Starts a webhook's delivery again. */
  redeliveries: Deliveries;
  /** Jobs that used up their attempts. */
  deadLetters: DeadLetterStore;
  /** What GPU workers say of their engines. */
  engines: EngineBoard;
  /** Who changed what. */
  audit: AuditLog;
  /** Whose keys there are. */
  owners: OwnerDirectory;
  /** The keys themselves, for the admin role. */
  keys: KeyStore;
  /** What requests cost. */
  ledger: UsageLedger;
  /** What retention reads and deletes. */
  retention: RetentionStore;
  /** The installation's times. */
  policy: RetentionPolicy;
  /** What the platform does by itself, again and again. */
  schedules: Schedules;
  /** Searches in log lines. */
  logSearch: LogSearch;
  /** How long each owner's things are kept; absent: for ever. */
  times?: RetentionClock;
  /** How their secrets are stored, for the admin role. */
  keyHashes: KeyHashes;
  /** What owners and keys may use, for the admin role. */
  plans: PlanStore;
  /** The same, asked at the door. */
  limits: OwnerLimits;
  /** The right to run, of owners who may run so many requests at once. */
  places: Pick<ConcurrencySlotStore, "take" | "leave">;
  /** What idempotency keys were used for. */
  claims: ClaimStore;
  clock: Clock;
  log: Log;
  /** Largest request body, in bytes. */
  bodyBytesMax: number;
  /** Sync runs and streams that one owner may have open here at once. */
  runsMax: number;
  /** Base of the addresses given to callers; `undefined`: the address they came by. */
  publicUrl: string | undefined;
  /** Whether `X-Forwarded-Proto` and `X-Forwarded-Host` are believed. */
  trustProxy?: boolean;
  /** The realtime sessions. */
  sessions: Sessions;
  /** The way of their frames. */
  frames: FrameChannel;
  /**
   * `idleMs`: a realtime socket without inputs and outputs for this long is closed. `socketsMax`: WebSockets
   * open at once. `sessionsMax`: realtime sessions of one owner.
   */
  realtime: { idleMs: number; socketsMax: number; sessionsMax: number };
}

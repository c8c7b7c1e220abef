import type { AuditLog } from "../core/ports/audit-log.ts";
import type { Clock } from "../core/ports/clock.ts";
import type { DeadLetterStore } from "../core/ports/dead-letter-store.ts";
import type { Deliveries, DeliveryStore } from "../core/ports/delivery-store.ts";
import type { EngineBoard } from "../core/ports/engine-board.ts";
import type { EventLog } from "../core/ports/event-log.ts";
import type { FileStore } from "../core/ports/file-store.ts";
import type { Jobs } from "../core/ports/jobs.ts";
import type { KeyStore } from "../core/ports/key-store.ts";
import type { Log } from "../core/ports/log.ts";
import type { ObjectStore } from "../core/ports/object-store.ts";
import type { RequestStore } from "../core/ports/request-store.ts";
import type { FrameChannel, Sessions } from "../core/ports/sessions.ts";
import type { SigningKeys } from "../core/ports/signing-keys.ts";
import type { Webhook } from "../core/webhook.ts";
import type { Registry } from "../registry/registry.ts";
import type { KeyHashes } from "./key-hashes.ts";
import type { KeyRing } from "./key-ring.ts";
import type { Tokens } from "./tokens.ts";

/** What the verbs are made of. A verb asks for the part it needs. */
export interface ApiDependencies {
  /** What can be called. */
  registry: Registry;
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
  /** The bytes. */
  objects: ObjectStore;
  /** Whose files they are, who may read them, until when. */
  files: FileStore;
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
  /** The keys themselves, for the admin role. */
  keys: KeyStore;
  /** How their secrets are stored, for the admin role. */
  keyHashes: KeyHashes;
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
   * `idleMs`: a realtime socket without inputs and outputs for this long is closed. `socketsMax`: WebSockets open at
   * once. `sessionsMax`: realtime sessions of one owner.
   */
  realtime: { idleMs: number; socketsMax: number; sessionsMax: number };
}

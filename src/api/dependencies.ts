import type { Clock } from "../core/ports/clock.ts";
import type { EventLog } from "../core/ports/event-log.ts";
import type { Jobs } from "../core/ports/jobs.ts";
import type { KeyStore } from "../core/ports/key-store.ts";
import type { Log } from "../core/ports/log.ts";
import type { ObjectStore } from "../core/ports/object-store.ts";
import type { RequestStore } from "../core/ports/request-store.ts";
import type { Registry } from "../registry/registry.ts";
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
  /** The keys themselves, for the admin role. */
  keys: KeyStore;
  clock: Clock;
  log: Log;
  /** Largest request body, in bytes. */
  bodyBytesMax: number;
  /** Base of the addresses given to callers; `undefined`: the address they came by. */
  publicUrl: string | undefined;
}

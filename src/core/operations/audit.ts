/**
 * An audit record says who changed what through the admin service, what it was before and what it became. It
 * is begun before the change and settled after it: a change whose process died half-way leaves one that is
 * still `begun`.
 */
import type { Json } from "../json/json.ts";

/** `begun`: nobody knows whether the change was made. `failed`: it was refused or went wrong. */
export type AuditState = "begun" | "made" | "failed";

export interface AuditRecord {
  /** UUIDv7. */
  auditId: string;
  atMs: number;
  /** The key that asked. */
  keyId: string;
  ownerId: string;
  /** What was done: `keys.create`, `queue.flush`, … */
  action: string;
  /** To what: a key's id, an endpoint, an owner. */
  subject: string;
  /** The `x-fal-request-id` of the answer. */
  requestId: string;
  state: AuditState;
  /** Never holds a secret. */
  before?: Json;
  after?: Json;
  /** The code of the catalogue that a failed change ended with. */
  errorCode?: string;
}

/**
 * An audit record tells who changed a thing through the admin service, and the thing before and after. It is
 * begun before the change and settled after it: a change whose process died half-way leaves a record that is
 * still `begun`.
 */
import type { Json } from "../json/json.ts";

/** `begun`: it is unknown whether the change was made. `failed`: it was refused, or an error occurred. */
export type AuditState = "begun" | "made" | "failed";

export interface AuditRecord {
  /** UUIDv7. */
  auditId: string;
  atMs: number;
  /** Id of the key that requested the change. */
  keyId: string;
  ownerId: string;
  /** Name of the change: `keys.create`, `queue.flush`, … */
  action: string;
  /** The changed thing: the id of a key, an endpoint, an owner. */
  subject: string;
  /** The `x-fal-request-id` of the response. */
  requestId: string;
  state: AuditState;
  /** Never contains a secret. */
  before?: Json;
  after?: Json;
  /** The error code of a failed change. */
  errorCode?: string;
}

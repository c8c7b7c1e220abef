import type { Json } from "../json/json.ts";
import type { AuditRecord } from "./audit.ts";

export interface AuditQuery {
  limit: number;
  /** Cursor: the page continues, newest first, after the record that this names. */
  before?: { atMs: number; id: string };
  /** The whole action, or its beginning up to a dot: `keys` finds `keys.create`. */
  action?: string;
  subject?: string;
  keyId?: string;
  ownerId?: string;
  startMs?: number;
  endMs?: number;
}

/**
 * Stores the audit records. Every method rejects with `store_unavailable` when PostgreSQL cannot be reached.
 */
export interface AuditLog {
  /** Records that a change is about to be made. */
  begin(record: Omit<AuditRecord, "state" | "after" | "errorCode">): Promise<void>;
  /** Records the result of the change. A subject that was not known before is corrected. */
  settle(auditId: string, result: { after?: Json; subject?: string } | { errorCode: string }): Promise<void>;
  list(query: AuditQuery): Promise<AuditRecord[]>;
}

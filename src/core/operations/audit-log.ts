import type { Json } from "../json/json.ts";
import type { AuditRecord } from "./audit.ts";

export interface AuditQuery {
  limit: number;
  /** Newest first: what this names comes next. */
  before?: { atMs: number; id: string };
  /** The whole action, or what it begins with up to a dot: `keys` finds `keys.create`. */
  action?: string;
  subject?: string;
  keyId?: string;
  ownerId?: string;
  startMs?: number;
  endMs?: number;
}

/** The record of changes. Every method rejects with `store_unavailable` when Postgres cannot be reached. */
export interface AuditLog {
  /** Says that a change is about to be made. */
  begin(record: Omit<AuditRecord, "state" | "after" | "errorCode">): Promise<void>;
  /** Says how it went. A subject that was known only afterwards is put right. */
  settle(auditId: string, how: { after?: Json; subject?: string } | { errorCode: string }): Promise<void>;
  list(query: AuditQuery): Promise<AuditRecord[]>;
}

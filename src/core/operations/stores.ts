import type { AuditLog } from "./audit-log.ts";
import type { PayloadKeyRecord } from "./payload-keys.ts";
import type { RetentionStore } from "./retention-store.ts";
import type { SecretStore } from "./secret-store.ts";

/** The durable stores of the installation's operation. */
export interface OperationStores {
  /** Changes made through the admin API, each with its author. */
  audit: AuditLog;
  /** Finds and deletes what is older than its retention time. */
  retention: RetentionStore;
  /** Secrets that all processes of this installation share. */
  secrets: SecretStore;
  /** The keys that payloads were encrypted with, and when each was used last. */
  payloadKeyRecord: PayloadKeyRecord;
}

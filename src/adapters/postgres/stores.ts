/**
 * The PostgreSQL stores of the platform, a folder per subject as in `src/core`. All of them share one
 * connection pool (`connection.ts`), and migrations (`migrate.ts`) bring the schema up to date.
 */
import type { EngineStores } from "../../core/engines/stores.ts";
import type { FileStores } from "../../core/files/stores.ts";
import type { ModelStores } from "../../core/models/stores.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { OperationStores } from "../../core/operations/stores.ts";
import type { OwnerStores } from "../../core/owners/stores.ts";
import type { PipelineStores } from "../../core/pipelines/stores.ts";
import type { RequestStores } from "../../core/requests/stores.ts";
import type { WebhookStores } from "../../core/webhooks/stores.ts";
import type { Sql } from "./connection.ts";
import { createCrashStore } from "./engines/crash-store.ts";
import { createEngineStatusStore } from "./engines/engine-status-store.ts";
import { createFileStore } from "./files/file-store.ts";
import { createStorageControl } from "./files/storage-control.ts";
import { createFlagStore } from "./models/flag-store.ts";
import { createModelVersionStore } from "./models/model-version-store.ts";
import { createRegistryChanges } from "./models/registry-changes.ts";
import { createRolloutStore } from "./models/rollout-store.ts";
import { createAuditLog } from "./operations/audit-log.ts";
import { createPayloadKeyRecord } from "./operations/payload-key-record.ts";
import { createRetentionStore } from "./operations/retention-store.ts";
import { createSecretStore } from "./operations/secret-store.ts";
import { createConcurrencySlotStore } from "./owners/concurrency-slot-store.ts";
import { createKeyStore } from "./owners/key-store.ts";
import { createOwnerDirectory } from "./owners/owner-directory.ts";
import { createOwnerLoad } from "./owners/owner-load.ts";
import { createPlanStore } from "./owners/plan-store.ts";
import { createUsageLedger } from "./owners/usage-ledger.ts";
import { createNodeResultStore } from "./pipelines/node-result-store.ts";
import { createPipelineRunStore } from "./pipelines/pipeline-run-store.ts";
import { createPipelineStore } from "./pipelines/pipeline-store.ts";
import { createDeadLetterStore } from "./requests/dead-letter-store.ts";
import { createIdempotencyStore } from "./requests/idempotency-store.ts";
import { createPostgresLogSearch } from "./requests/log-search.ts";
import { createRequestSearch } from "./requests/request-search.ts";
import { createRequestStore } from "./requests/request-store.ts";
import { createWithdrawalStore } from "./requests/withdrawal-store.ts";
import { createDeliveryStore } from "./webhooks/delivery-store.ts";
import { createSigningKeyStore } from "./webhooks/signing-key-store.ts";

/** Every durable store, grouped by subject. */
export interface Stores {
  requests: RequestStores;
  models: ModelStores;
  pipelines: PipelineStores;
  files: FileStores;
  owners: OwnerStores;
  engines: EngineStores;
  webhooks: WebhookStores;
  operations: OperationStores;
}

/**
 * Creates every store on one connection pool. Opens no connection itself: the first query does.
 *
 * @param clock decides which signing key signs and which are published
 */
export function createPostgresStores(sql: Sql, { clock }: { clock: Clock }): Stores {
  const secrets = createSecretStore(sql);
  return {
    requests: {
      requests: createRequestStore(sql),
      requestSearch: createRequestSearch(sql),
      deadLetters: createDeadLetterStore(sql),
      claims: createIdempotencyStore(sql),
      logSearch: createPostgresLogSearch(sql),
      withdrawals: createWithdrawalStore(sql),
    },
    models: {
      modelVersions: createModelVersionStore(sql),
      rollouts: createRolloutStore(sql),
      flagStore: createFlagStore(sql),
      registryChanges: createRegistryChanges(sql),
    },
    pipelines: {
      nodeResults: createNodeResultStore(sql),
      pipelineRuns: createPipelineRunStore(sql),
      pipelines: createPipelineStore(sql),
    },
    files: { files: createFileStore(sql), storage: createStorageControl(sql) },
    owners: {
      keys: createKeyStore(sql),
      owners: createOwnerDirectory(sql),
      plans: createPlanStore(sql),
      load: createOwnerLoad(sql),
      slots: createConcurrencySlotStore(sql),
      ledger: createUsageLedger(sql),
    },
    engines: { engines: createEngineStatusStore(sql), crashes: createCrashStore(sql) },
    webhooks: {
      deliveries: createDeliveryStore(sql),
      signingKeys: createSigningKeyStore(sql, { secrets, clock }),
    },
    operations: {
      audit: createAuditLog(sql),
      retention: createRetentionStore(sql),
      secrets,
      payloadKeyRecord: createPayloadKeyRecord(sql),
    },
  };
}

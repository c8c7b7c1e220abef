import type { ConcurrencySlotStore } from "./concurrency-slot-store.ts";
import type { KeyStore } from "./key-store.ts";
import type { OwnerDirectory } from "./owner-directory.ts";
import type { OwnerLoad } from "./owner-load.ts";
import type { PlanStore } from "./plan-store.ts";
import type { UsageLedger } from "./usage-ledger.ts";

/** The durable stores of owners, their keys and their limits. */
export interface OwnerStores {
  /** API keys, by id; secrets are stored as digests. */
  keys: KeyStore;
  /** All owners, with their keys counted. */
  owners: OwnerDirectory;
  /** Plans, and the limits of owners and keys. */
  plans: PlanStore;
  /** The unfinished requests and the spending of an owner, for its limits. */
  load: OwnerLoad;
  /** The concurrency slots that owners with such a limit have in use. */
  slots: ConcurrencySlotStore;
  /** The price of every request that ended. */
  ledger: UsageLedger;
}

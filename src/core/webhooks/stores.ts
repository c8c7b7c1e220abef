import type { DeliveryStore } from "./delivery-store.ts";
import type { SigningKeyStore } from "./signing-key-store.ts";

/** The durable stores of webhooks. */
export interface WebhookStores {
  /** The record of every delivery and its attempts. */
  deliveries: DeliveryStore;
  /** The keys that sign deliveries. */
  signingKeys: SigningKeyStore;
}

/**
 * Stores secrets that all processes of the installation share. Rejects with `store_unavailable` when
 * PostgreSQL cannot be reached.
 */
export interface SecretStore {
  /** Returns 32 random bytes; the first process that asks for a name makes them. */
  secret(name: string): Promise<Uint8Array>;
}

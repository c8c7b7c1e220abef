/**
 * Secrets of this installation, the same for all its processes. Rejects with `store_unavailable` when
 * Postgres cannot be reached.
 */
export interface SecretStore {
  /** 32 random bytes, made by the first process that asks for this name. */
  secret(name: string): Promise<Uint8Array>;
}

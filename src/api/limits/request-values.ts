import { errorInfo } from "../../core/errors/tempera-error.ts";
import { deleteCounted } from "../../core/files/counted-object.ts";
import { store, storeApart } from "../../core/files/stored-value.ts";
import type { Stored } from "../../core/json/json.ts";
import type { ApiDependencies } from "../dependencies.ts";

/** The ports that the values of a request need. */
export type ValuePorts = Pick<ApiDependencies, "objects" | "files" | "log">;

/**
 * The values that one call stores for its request: its input, a pipeline's plan. Large ones count for the
 * request's owner, and the values of a request that is not queued are deleted again. Each is an object of its
 * own: another call with the same idempotency key may be about to queue the same request.
 */
export class RequestValues {
  readonly #ports: ValuePorts;
  readonly #ownerId: string;
  readonly #stored: Promise<Stored<unknown>>[] = [];

  constructor(ports: ValuePorts, ownerId: string) {
    this.#ports = ports;
    this.#ownerId = ownerId;
  }

  /** Stores a value as `store` does. Rejects with `storage_limit` when its owner has no room for it. */
  store<T>(key: string, value: T): Promise<Stored<T>> {
    return this.#keep(store(this.#ports, { ownerId: this.#ownerId, key, unique: true }, value));
  }

  /** Stores a value as `storeApart` does. Rejects with `storage_limit` when its owner has no room for it. */
  storeApart<T>(key: string, value: T): Promise<{ ref: string }> {
    return this.#keep(storeApart(this.#ports, { ownerId: this.#ownerId, key }, value));
  }

  /** Deletes what was stored, in the background: no job will read it. */
  discard(): void {
    void this.#delete().catch((error) =>
      this.#ports.log.warn(
        { ownerId: this.#ownerId, err: errorInfo(error) },
        "the values of a refused request were not deleted; the sweep of orphans will delete them",
      ),
    );
  }

  #keep<S extends Stored<unknown>>(storing: Promise<S>): Promise<S> {
    this.#stored.push(storing);
    return storing;
  }

  async #delete(): Promise<void> {
    const stored = await Promise.allSettled(this.#stored);
    const refs = stored.flatMap((each) =>
      each.status === "fulfilled" && "ref" in each.value ? [each.value.ref] : [],
    );
    if (refs.length > 0) await deleteCounted(this.#ports, refs);
  }
}

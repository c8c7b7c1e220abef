import type { FlagStore } from "./flag-store.ts";
import type { ModelVersionStore } from "./model-version-store.ts";
import type { RegistryChanges } from "./registry-changes.ts";
import type { RolloutStore } from "./rollout-store.ts";

/** The durable stores of the model registry. */
export interface ModelStores {
  /** Published versions of models, with their manifests, schemas and weight files. */
  modelVersions: ModelVersionStore;
  /** The versions that share an endpoint's requests, and by how much. */
  rollouts: RolloutStore;
  /** Feature flags, per owner or for all. */
  flagStore: FlagStore;
  /** Notifies of changes to any of the three, so that caches of the registry follow. */
  registryChanges: RegistryChanges;
}

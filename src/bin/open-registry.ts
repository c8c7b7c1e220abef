import { resolve } from "node:path";
import type { Config } from "../config/settings.ts";
import { findNearestName } from "../core/errors/nearest-name.ts";
import { isTestModel } from "../core/models/test-models.ts";
import { parseTrustedKeys } from "../core/models/trusted-keys.ts";
import type { Log } from "../core/operations/log.ts";
import { engineRunners } from "../gpu-workers/worker/process/engine-programs.ts";
import { codePipeline } from "../registry/code-pipeline.ts";
import { createSignatureCheck, type SignatureCheck } from "../registry/packages/package-signature.ts";
import { reviewModel } from "../registry/packages/review-model.ts";
import { loadRegistry, type Registry } from "../registry/registry.ts";
import { PIPELINES } from "../workflows/pipelines/index.ts";

/** The root of the project: where `models/`, `schemas/` and `package-lock.json` lie. */
export const PROJECT = resolve(import.meta.dirname, "../..");

/** The module that writes failures as payloads, so that they can be encrypted. */
export const ENCODED_FAILURES = resolve(import.meta.dirname, "../workflows/encoded-failures.cjs");

/**
 * Warns of each call of a pipeline whose endpoint nobody serves: runs of the pipeline would fail. Calls of
 * saved pipelines are not checked, because those are created and deleted while the platform runs.
 */
export function warnOfMissingCalls(
  registry: Pick<Registry, "pipelines" | "route" | "list">,
  log: Pick<Log, "warn">,
): void {
  const served = [...registry.list(), ...registry.pipelines()].map(({ endpoint }) => endpoint);
  for (const { endpoint: pipeline, version, calls } of registry.pipelines()) {
    for (const endpoint of calls) {
      if (endpoint.startsWith("workflows/") || registry.route(endpoint)) continue;
      const nearest = findNearestName(endpoint, served);
      const remedy =
        nearest === undefined ? "serve it, or take it out of `calls`" : `did you mean ${nearest}?`;
      log.warn({ pipeline, version }, `${pipeline} calls ${endpoint}, which is not served; ${remedy}`);
    }
  }
}

/** Warns of what is valid in the models folder and most likely a slip, as `tempera models check` does. */
export function warnOfSlips(
  registry: Pick<Registry, "list">,
  { engines }: Pick<Config, "engines">,
  log: Pick<Log, "warn">,
): void {
  const runners = engineRunners(engines.programs);
  for (const model of registry.list()) {
    const { endpoint, version } = model;
    for (const slip of reviewModel(model, runners))
      log.warn({ endpoint, version }, `${endpoint} ${version}: ${slip}`);
  }
}

/** Creates the check of packages' signatures; `undefined` when the configuration trusts no keys. */
export const signatureCheckOf = ({ registry }: Pick<Config, "registry">): SignatureCheck | undefined =>
  registry.trustedKeys === undefined
    ? undefined
    : createSignatureCheck(parseTrustedKeys(registry.trustedKeys));

/**
 * Reads and checks the configured model packages; throws `RegistryFaults`. The test models are withheld
 * unless the configuration asks for them.
 */
export function openRegistry(
  { folders, inputs, registry }: Config,
  log?: Pick<Log, "warn">,
): Promise<Registry> {
  return loadRegistry({
    isWithheld: (endpoint) => isTestModel(endpoint) && !registry.testModels,
    modelsFolder: resolve(PROJECT, folders.models),
    schemasFolder: resolve(PROJECT, folders.schemas),
    pipelines: PIPELINES.map(codePipeline),
    coercion: inputs.coercion,
    checkSignature: signatureCheckOf({ registry }),
    ...(log && { log }),
  });
}

import { resolve } from "node:path";
import type { Config } from "../config/settings.ts";
import type { Log } from "../core/operations/log.ts";
import { codePipeline } from "../registry/code-pipeline.ts";
import { loadRegistry, type Registry } from "../registry/registry.ts";
import { PIPELINES } from "../workflows/pipelines/index.ts";

/** The root of the project: where `models/`, `schemas/` and `package-lock.json` lie. */
export const PROJECT = resolve(import.meta.dirname, "../..");

/** The module that writes failures as payloads, so that they can be encrypted. */
export const ENCODED_FAILURES = resolve(import.meta.dirname, "../workflows/encoded-failures.cjs");

/** Reads and checks the configured model packages; throws `RegistryFaults`. */
export const openRegistry = ({ folders, inputs }: Config, log?: Pick<Log, "warn">): Promise<Registry> =>
  loadRegistry({
    modelsFolder: resolve(PROJECT, folders.models),
    schemasFolder: resolve(PROJECT, folders.schemas),
    pipelines: PIPELINES.map(codePipeline),
    coercion: inputs.coercion,
    ...(log && { log }),
  });

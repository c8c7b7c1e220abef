/**
 * The registry: every endpoint that can be called. It is read from `models/` and `schemas/` at the start and
 * checked as a whole; it never changes afterwards. `live-registry.ts` adds the published versions.
 */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { appOf } from "../core/models/endpoint.ts";
import type { ModelVersion } from "../core/models/model.ts";
import { newestFirst } from "../core/models/published-version.ts";
import type { Log } from "../core/operations/log.ts";
import type { PipelineVersion } from "../core/pipelines/pipeline.ts";
import { createInputCheck, type InputCheck, type RouteCheck } from "./input-check.ts";
import type { Coercion } from "./lax-values.ts";
import { type PackageFaults, readModelPackage } from "./packages/model-package.ts";
import { createManifestCheck } from "./packages/package-check.ts";
import type { SignatureCheck } from "./packages/package-signature.ts";
import type { SchemaThread } from "./schema-thread/schema-thread.ts";

/** A model version with its compiled input check. */
export interface ModelRoute {
  model: ModelVersion;
  pipeline?: undefined;
  checkInput: InputCheck;
}

/** A pipeline with its input check. */
export interface PipelineRoute {
  pipeline: PipelineVersion;
  model?: undefined;
  checkInput: RouteCheck;
  /** The owner who wrote the pipeline, and its schemas: they are compiled by the `SchemaThread` alone. */
  writtenBy?: string;
}

/** The model or pipeline behind an endpoint. */
export type Route = ModelRoute | PipelineRoute;

/** Finds a saved pipeline that an owner may call, for endpoints that the registry does not have. */
export type FindPipeline = (endpoint: string, ownerId: string) => Promise<PipelineRoute | undefined>;

export interface Registry {
  /** Finds the version that serves an endpoint: the newest, or the one that a rollout gives this request. */
  route(endpoint: string, requestId?: string): Route | undefined;
  /** Finds one version, for jobs that started on it. */
  find(endpoint: string, version: string): ModelVersion | undefined;
  /** Tells whether an app (`owner/alias`) has any endpoint: an unknown path is not an unknown application. */
  hasApp(app: string): boolean;
  /** Lists every model version, by endpoint, newest first. */
  list(): ModelVersion[];
  /** Lists every pipeline that comes with the program, by endpoint, newest first. */
  pipelines(): PipelineVersion[];
  /** Tells whether an endpoint is not served although its package or pipeline exists: a test model. */
  isWithheld?(endpoint: string): boolean;
  /** The treatment of scalars of another type by its input checks. @default "lax" */
  readonly coercion?: Coercion | undefined;
}

/** Thrown at the start when model packages are faulty. The message names every fault of every package. */
export class RegistryFaults extends Error {
  readonly packages: PackageFaults[];
  constructor(packages: PackageFaults[], modelsFolder: string) {
    const lines = packages.flatMap(({ folder, faults }) =>
      faults.map((fault) => `  ${relative(modelsFolder, folder) || folder}: ${fault}`),
    );
    const count = packages.length === 1 ? "1 model package is" : `${packages.length} model packages are`;
    super(`${count} faulty; mend or remove:\n${lines.join("\n")}`);
    this.packages = packages;
  }
}

/** Finds every folder that holds a `model.yaml`, and version-shaped folders that should. */
function packageFolders(folder: string): string[] {
  const entries = readdirSync(folder, { withFileTypes: true }).filter((entry) => !entry.name.startsWith("."));
  if (entries.some((entry) => entry.name === "model.yaml")) return [folder];
  if (/^\d+\.\d+\.\d+$/.test(folder.split(/[\\/]/).at(-1) ?? "")) return [folder];
  return entries
    .map(({ name }) => join(folder, name))
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isDirectory())
    .flatMap(packageFolders);
}

/** Sorts by endpoint, and the versions of an endpoint newest first. */
export function byEndpoint<T extends { endpoint: string; version: string }>(a: T, b: T): number {
  return a.endpoint < b.endpoint ? -1 : a.endpoint > b.endpoint ? 1 : newestFirst(a.version, b.version);
}

/**
 * Reads all model packages.
 *
 * @param folders.pipelines those that come with the program
 * @param folders.coercion of the input checks, `lax` by default
 * @param folders.log warned about manifests with fields that have another name today
 * @throws RegistryFaults naming every fault of every package
 */
export async function loadRegistry(folders: {
  modelsFolder: string;
  schemasFolder: string;
  /** Names endpoints that are not served; their packages are checked all the same. */
  isWithheld?: (endpoint: string) => boolean;
  pipelines?: readonly PipelineVersion[];
  coercion?: Coercion;
  /** Absent: packages need no signature. */
  checkSignature?: SignatureCheck | undefined;
  log?: Pick<Log, "warn">;
}): Promise<Registry> {
  const { coercion, checkSignature, isWithheld = () => false } = folders;
  const modelsFolder = resolve(folders.modelsFolder);
  const schemasFolder = resolve(folders.schemasFolder);
  if (!existsSync(modelsFolder))
    throw new Error(
      `There is no models folder ${modelsFolder}; make it, or set TEMPERA_MODELS to the one you mean.`,
    );
  const checkManifest = createManifestCheck(schemasFolder, folders.log);
  const read = await Promise.all(
    packageFolders(modelsFolder).map((folder) =>
      readModelPackage(folder, { modelsFolder, schemasFolder, checkManifest, checkSignature }),
    ),
  );
  const faulty = read.filter((item): item is PackageFaults => "faults" in item);
  if (faulty.length > 0) throw new RegistryFaults(faulty, modelsFolder);
  const isServed = ({ endpoint }: { endpoint: string }): boolean => !isWithheld(endpoint);
  const models = (read as ModelVersion[]).filter(isServed).sort(byEndpoint);
  const pipelines = (folders.pipelines ?? []).filter(isServed).sort(byEndpoint);

  const byVersion = new Map(models.map((model) => [`${model.endpoint}@${model.version}`, model]));
  const routes = new Map<string, Route>();
  for (const model of models)
    if (!routes.has(model.endpoint))
      routes.set(model.endpoint, { model, checkInput: createInputCheck(model, { coercion }) });
  for (const pipeline of pipelines) {
    const before = routes.get(pipeline.endpoint);
    if (before?.model)
      throw new Error(`${pipeline.endpoint} is both a model and a pipeline; rename one of them.`);
    if (!before) routes.set(pipeline.endpoint, pipelineRoute(pipeline, coercion));
  }
  const apps = new Set([...routes.keys()].map(appOf));
  return {
    route: (endpoint) => routes.get(endpoint),
    find: (endpoint, version) => byVersion.get(`${endpoint}@${version}`),
    hasApp: (app) => apps.has(app),
    list: () => models,
    pipelines: () => pipelines,
    isWithheld,
    coercion,
  };
}

/** Compiles the input check of a pipeline of the program. Throws when its schema is not a JSON Schema. */
export function pipelineRoute(pipeline: PipelineVersion, coercion?: Coercion): PipelineRoute {
  const { schemas } = pipeline;
  return { pipeline, checkInput: createInputCheck({ schemas, restrictions: [] }, { coercion }) };
}

/**
 * Makes the route of a pipeline that an owner saved.
 *
 * @param by.writtenBy the owner who saved it
 * @param by.callerId the owner who calls it, whose turns its checks take
 */
export function savedPipelineRoute(
  pipeline: PipelineVersion,
  { writtenBy, callerId }: { writtenBy: string; callerId: string },
  thread: SchemaThread,
): PipelineRoute {
  const requested = { ownerId: callerId, schema: pipeline.schemas.input };
  const checkInput: RouteCheck = (raw) => thread.checkInput(requested, raw);
  checkInput.coerced = (raw) => thread.coerced(requested, raw);
  return { pipeline, checkInput, writtenBy };
}

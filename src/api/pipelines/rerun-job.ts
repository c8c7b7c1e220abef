import type { TemperaError } from "../../core/errors/tempera-error.ts";
import { retrieve } from "../../core/files/stored-value.ts";
import { transientKey } from "../../core/files/transient.ts";
import { writeJson } from "../../core/json/exact-json.ts";
import type { JsonObject } from "../../core/json/json.ts";
import { nativeInputHash } from "../../core/json/native-input-hash.ts";
import { LIMITS } from "../../core/limits.ts";
import type { KeyPermissions } from "../../core/owners/key-permissions.ts";
import type { CallTarget, PipelinePart, PipelinePlan, ReusedNode } from "../../core/pipelines/pipeline.ts";
import type { PipelineRun } from "../../core/pipelines/pipeline-run-store.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import type { Rerun } from "../../fal/index.ts";
import { pipelineRoute } from "../../registry/registry.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { RequestValues } from "../limits/request-values.ts";
import { assertTargetsAvailable } from "./assert-targets-available.ts";
import { isOutputAvailable, type OutputStores } from "./is-output-available.ts";
import { fitsWorkflow, refuseLarge } from "./pipeline-job.ts";
import { faulty, refuseUnknown, refuseUnknownFields } from "./rerun-faults.ts";

/** A pipeline's request that ran, with its nodes. */
export interface PreviousRun {
  job: JobSpec & { pipeline: PipelinePart };
  nodes: PipelineRun[];
}

/** The wishes of the caller for a run, and the permissions of the key. */
interface NewRun {
  requestId: string;
  rerun: Rerun;
  cache: boolean;
  storeIo?: false | undefined;
  /** Those of the caller's key. */
  permissions?: KeyPermissions | undefined;
  /** Stores what is new. */
  values: RequestValues;
  /** Does work on the call's body, in its owner's turn when that is large. */
  inTurn: <T>(work: () => T | Promise<T>) => Promise<T>;
}

/**
 * Builds the parts of a job that its previous run determines: the plan, the versions of its call targets, and
 * the input with the overrides. The results of the previous run's nodes are handed on; a node reuses its
 * result when its input is still the same.
 *
 * Rejects with `input_invalid` for an input that does not fit the pipeline and for unknown nodes,
 * `payload_gone` when the previous run's input has been deleted, `endpoint_unknown` when a version that it
 * calls is no longer served, `storage_limit`, `key_endpoint_forbidden` when the caller's key may not call a
 * target of it, and `disabled_by_operator` when a flag disables the pipeline, or a target of it, for its
 * owner.
 */
export async function rerunJob(
  api: OutputStores & Pick<ApiDependencies, "registry" | "findPipeline" | "flags">,
  { job, nodes }: PreviousRun,
  { requestId, rerun, cache, storeIo, permissions, values, inTurn }: NewRun,
): Promise<Pick<JobSpec, "input" | "pipeline" | "rerunOf">> {
  const { plan, callees, depth } = job.pipeline;
  // First, because the other stored parts were deleted together with the input.
  const firstInput = await retrieve<JsonObject>(api.objects, job.input);
  await assertTargetsAvailable({ ...api, permissions }, job);
  const inherited = job.pipeline.kept
    ? await retrieve<Record<string, ReusedNode>>(api.objects, job.pipeline.kept)
    : {};
  const results: Record<string, ReusedNode> = {
    ...(await availableOf(api, inherited)),
    ...Object.fromEntries((await inBatches(nodes, (node) => resultOf(api, node))).flat()),
  };
  const endpoints = new Map<string, string>([
    ...Object.entries(inherited).map(([id, { endpoint }]): [string, string] => [id, endpoint]),
    ...nodes.flatMap(({ job: made }): [string, string][] =>
      made.node ? [[made.node.id, made.endpoint]] : [],
    ),
    ...nodesOf(await retrieve<PipelinePlan>(api.objects, plan)),
  ]);
  refuseUnknown(endpoints, rerun);
  const targets = await retrieve<Record<string, CallTarget>>(api.objects, callees);
  await inTurn(() => refuseUnknownFields(api.registry, { endpoints, targets }, rerun));
  const overrides = merge(await overridesOf(api, job), rerun.nodes);
  refuseLargeOverrides(overrides);
  const input =
    Object.keys(rerun.input).length === 0
      ? firstInput
      : await inTurn(() => changedInput(api, job, firstInput, rerun.input));
  refuseLarge(input);
  const slimmed = await slim(values, results);
  const [storedInput, storedResults] = await Promise.all([
    storeIo === false
      ? values.storeApart(transientKey(requestId, "input"), input)
      : values.store(`inputs/${requestId}.json`, input),
    values.store(`inputs/${requestId}-kept.json`, slimmed),
  ]);
  const outputRefs =
    "ref" in storedResults
      ? Object.values(slimmed).flatMap(({ output }) => ("ref" in output ? [output.ref] : []))
      : [];
  return {
    rerunOf: job.requestId,
    input: storedInput,
    pipeline: {
      plan,
      callees,
      depth,
      deadlineMs: api.clock.nowMs() + LIMITS.pipelineMs,
      cache: cache && api.flags.isOn("behaviour", "node_cache", job.ownerId),
      kept: storedResults,
      ...(outputRefs.length > 0 && { keptRefs: outputRefs }),
      ...(await storeOverrides(values, overrides, { requestId, storeIo })),
      ...(rerun.from !== undefined && { from: rerun.from }),
    },
  };
}

/** Throws `input_invalid` when the overrides are too large for a workflow. */
function refuseLargeOverrides(overrides: Record<string, JsonObject>): void {
  if (fitsWorkflow(overrides)) return;
  throw largeOverrides(LIMITS.pipelineValueBytesMax);
}

function largeOverrides(bytesMax: number): TemperaError {
  const most = bytesMax.toLocaleString("en-US");
  const msg =
    `Value error, the nodes' fields are larger than ${most} bytes; ` +
    "upload large values and pass their addresses";
  return faulty([{ loc: ["body", "overrides", "nodes"], msg, type: "value_error" }]);
}

/** Reads the overrides of the previous run. */
async function overridesOf(
  { objects }: Pick<OutputStores, "objects">,
  { pipeline: { overrides = {}, overridesRef } }: PreviousRun["job"],
): Promise<Record<string, JsonObject>> {
  return overridesRef === undefined ? overrides : retrieve(objects, { ref: overridesRef });
}

/** Makes overrides a part of the job, or an object when they are large. */
async function storeOverrides(
  values: RequestValues,
  overrides: Record<string, JsonObject>,
  { requestId, storeIo }: { requestId: string; storeIo?: false | undefined },
): Promise<Pick<PipelinePart, "overrides" | "overridesRef">> {
  if (Object.keys(overrides).length === 0) return {};
  if (Buffer.byteLength(writeJson(overrides)) <= LIMITS.inlineBytesMax) return { overrides };
  // Apart from the input, a request that is not to be stored has no object of its own.
  if (storeIo === false) throw largeOverrides(LIMITS.inlineBytesMax);
  const { ref } = await values.storeApart(`inputs/${requestId}-overrides.json`, overrides);
  return { overridesRef: ref };
}

/** Outputs are read whole and may be large, so only so many are read at once. */
const BATCH_SIZE = 8;

async function inBatches<T, R>(all: readonly T[], work: (each: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let at = 0; at < all.length; at += BATCH_SIZE)
    results.push(...(await Promise.all(all.slice(at, at + BATCH_SIZE).map(work))));
  return results;
}

/** Filters the results that the previous run itself was given to those that are still available. */
async function availableOf(
  api: OutputStores,
  results: Record<string, ReusedNode>,
): Promise<Record<string, ReusedNode>> {
  const all = Object.entries(results);
  const available = await inBatches(all, ([, { output }]) => isOutputAvailable(api, output));
  return Object.fromEntries(all.filter((_, at) => available[at]));
}

/** Gives a node's result under its name; none when it failed, was cancelled, or its files were deleted. */
async function resultOf(api: OutputStores, { job, outcome }: PipelineRun): Promise<[string, ReusedNode][]> {
  if (!job.node || !outcome?.ok || !(await isOutputAvailable(api, outcome.output))) return [];
  const { requestId, endpoint, version } = job;
  // The input of a nested pipeline is completed from the node's, whose hash its record has.
  const hash = job.pipeline?.givenHash ?? nativeInputHash(await retrieve<JsonObject>(api.objects, job.input));
  return [[job.node.id, { requestId, endpoint, version, inputHash: hash, output: outcome.output }]];
}

/**
 * Replaces the outputs by references when they are too large together: the workflow reads all results when it
 * begins.
 */
async function slim(
  values: RequestValues,
  results: Record<string, ReusedNode>,
): Promise<Record<string, ReusedNode>> {
  if (Buffer.byteLength(writeJson(results)) <= LIMITS.pipelinePlanBytesMax / 2) return results;
  const slimmed: [string, ReusedNode][] = [];
  for (const [name, node] of Object.entries(results)) {
    if ("inline" in node.output) {
      const output = await values.storeApart(`outcomes/${node.requestId}.json`, node.output.inline);
      slimmed.push([name, { ...node, output }]);
    } else slimmed.push([name, node]);
  }
  return Object.fromEntries(slimmed);
}

/**
 * Lists the nodes of a graph with the endpoints that they call. The nodes of code are only known from the
 * records of a run.
 */
const nodesOf = (plan: PipelinePlan): [string, string][] =>
  "graph" in plan ? plan.graph.nodes.map(({ id, endpoint }) => [id, endpoint]) : [];

/** Merges the overrides of a rerun into those of the run that it repeats. */
const merge = (
  before: Record<string, JsonObject>,
  more: Record<string, JsonObject>,
): Record<string, JsonObject> => ({
  ...before,
  ...Object.fromEntries(Object.entries(more).map(([node, fields]) => [node, { ...before[node], ...fields }])),
});

/**
 * Replaces fields of the first run's input and checks it as at a submit. When the definition no longer
 * exists, only fields that the first run had can be replaced, and the nodes check their values.
 */
async function changedInput(
  api: Pick<ApiDependencies, "registry" | "findPipeline">,
  job: JobSpec,
  before: JsonObject,
  fields: JsonObject,
): Promise<JsonObject> {
  const input = { ...before, ...fields };
  const route = await sameVersion(api, job);
  const checked = route
    ? await route.checkInput(input)
    : { input, ignored: Object.keys(fields).filter((name) => !Object.hasOwn(before, name)) };
  const inBody = (loc: (string | number)[]) => ["body", "overrides", "input", ...loc.slice(1)];
  if ("faults" in checked)
    throw faulty(checked.faults.map((fault) => ({ ...fault, loc: inBody(fault.loc) })));
  if (checked.ignored.length > 0) {
    throw faulty(
      checked.ignored.slice(0, LIMITS.inputFaultsMax).map((name) => ({
        loc: inBody(["body", name]),
        msg: "Value error, the pipeline has no such field",
        type: "value_error",
      })),
    );
  }
  return checked.input;
}

async function sameVersion(
  { registry, findPipeline }: Pick<ApiDependencies, "registry" | "findPipeline">,
  job: JobSpec,
) {
  const shipped = registry
    .pipelines()
    .find(({ endpoint, version }) => endpoint === job.endpoint && version === job.version);
  if (shipped) return pipelineRoute(shipped, registry.coercion);
  const saved = await findPipeline(job.endpoint, job.ownerId);
  return saved?.pipeline.digest === job.modelDigest ? saved : undefined;
}

import { type InputFault, TemperaError } from "../../core/errors/tempera-error.ts";
import { inputHash } from "../../core/json/input-hash.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import type { JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { KeptNode, PipelinePart, PipelinePlan } from "../../core/pipelines/pipeline.ts";
import type { PipelineRun } from "../../core/pipelines/pipeline-run-store.ts";
import { retrieve, store, storeApart, transientKey } from "../../core/files/stored-value.ts";
import type { Rerun } from "../../fal/index.ts";
import { pipelineRoute } from "../../registry/registry.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { refuseGone } from "./assert-callees-available.ts";
import { outputThere } from "./assert-output-available.ts";
import { refuseLarge } from "./pipeline-job.ts";

/** A pipeline's request that ran, with its nodes. */
export interface EarlierRun {
  job: JobSpec & { pipeline: PipelinePart };
  nodes: PipelineRun[];
}

/**
 * What of a job an earlier run decides: the plan, the versions of what it calls and the input, with what is
 * to be others. The results of its nodes come along; each is kept whose input is still the same when its turn
 * comes.
 *
 * Throws `input_invalid` for an input that does not fit the pipeline, and for nodes that it has not;
 * `payload_gone` when the earlier run's input is not kept any more; `endpoint_unknown` when a version that it
 * calls is no longer served; `switched_off` when a flag keeps the pipeline, or anything that it calls, from
 * its owner.
 */
export async function rerunJob(
  api: Pick<ApiDependencies, "objects" | "files" | "clock" | "registry" | "findPipeline" | "flags">,
  { job, nodes }: EarlierRun,
  {
    requestId,
    rerun,
    cache,
    storeIo,
  }: { requestId: string; rerun: Rerun; cache: boolean; storeIo?: false | undefined },
): Promise<Pick<JobSpec, "input" | "pipeline" | "rerunOf">> {
  const { plan, callees, depth } = job.pipeline;
  // Before anything else is read: the rest of what it was given goes with it.
  const first = await retrieve<JsonObject>(api.objects, job.input);
  await refuseGone(api, job);
  const before = job.pipeline.kept
    ? await retrieve<Record<string, KeptNode>>(api.objects, job.pipeline.kept)
    : {};
  const kept: Record<string, KeptNode> = {
    ...(await stillThere(api, before)),
    ...Object.fromEntries((await aFewAtOnce(nodes, (node) => keptNode(api, node))).flat()),
  };
  const known = new Set([
    ...Object.keys(before),
    ...nodes.flatMap((node) => node.job.node?.id ?? []),
    ...nodesOf(await retrieve<PipelinePlan>(api.objects, plan)),
  ]);
  refuseUnknown(known, rerun);
  const overrides = merge(job.pipeline.overrides ?? {}, rerun.nodes);
  if (Buffer.byteLength(JSON.stringify(overrides)) > LIMITS.inlineBytesMax) {
    throw faulty([
      {
        loc: ["body", "overrides", "nodes"],
        msg: `Value error, the nodes' fields are larger than ${LIMITS.inlineBytesMax.toLocaleString("en-US")} bytes; upload large values and give their addresses`,
        type: "value_error",
      },
    ]);
  }
  const input =
    Object.keys(rerun.input).length === 0 ? first : await changedInput(api, job, first, rerun.input);
  refuseLarge(input);
  const slimmed = await slim(api, kept);
  const [storedInput, storedKept] = await Promise.all([
    storeIo === false
      ? storeApart(api.objects, transientKey(requestId, "input"), input)
      : store(api.objects, `inputs/${requestId}.json`, input),
    store(api.objects, `inputs/${requestId}-kept.json`, slimmed),
  ]);
  const keptRefs =
    "ref" in storedKept
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
      kept: storedKept,
      ...(keptRefs.length > 0 && { keptRefs }),
      ...(Object.keys(overrides).length > 0 && { overrides }),
      ...(rerun.from !== undefined && { from: rerun.from }),
    },
  };
}

/** Outputs are looked into, and may be large: not those of hundreds of nodes together. */
const LOOKED_AT_ONCE = 8;

async function aFewAtOnce<T, R>(all: readonly T[], look: (each: T) => Promise<R>): Promise<R[]> {
  const looked: R[] = [];
  for (let at = 0; at < all.length; at += LOOKED_AT_ONCE)
    looked.push(...(await Promise.all(all.slice(at, at + LOOKED_AT_ONCE).map(look))));
  return looked;
}

/** Of what the earlier run was itself given to keep, what can still be kept. */
async function stillThere(
  api: Pick<ApiDependencies, "objects" | "files" | "clock">,
  kept: Record<string, KeptNode>,
): Promise<Record<string, KeptNode>> {
  const all = Object.entries(kept);
  const there = await aFewAtOnce(all, ([, { output }]) => outputThere(api, output));
  return Object.fromEntries(all.filter((_, at) => there[at]));
}

/** What a node left, under its name; nothing when it failed or was cancelled, or its files have gone. */
async function keptNode(
  api: Pick<ApiDependencies, "objects" | "files" | "clock">,
  { job, outcome }: PipelineRun,
): Promise<[string, KeptNode][]> {
  if (!job.node || !outcome?.ok || !(await outputThere(api, outcome.output))) return [];
  const { requestId, endpoint, version } = job;
  // The record of a pipeline that the node called has the input that was made of it.
  const hash = job.pipeline?.givenHash ?? inputHash(await retrieve<JsonObject>(api.objects, job.input));
  return [[job.node.id, { requestId, endpoint, version, inputHash: hash, output: outcome.output }]];
}

/**
 * The workflow reads all of it at its beginning: where the outputs are too much for that, it is given where
 * they lie.
 */
async function slim(
  { objects }: Pick<ApiDependencies, "objects">,
  kept: Record<string, KeptNode>,
): Promise<Record<string, KeptNode>> {
  if (Buffer.byteLength(JSON.stringify(kept)) <= LIMITS.pipelinePlanBytesMax / 2) return kept;
  const slimmed: [string, KeptNode][] = [];
  for (const [name, node] of Object.entries(kept)) {
    if ("inline" in node.output) {
      const ref = `outcomes/${node.requestId}.json`;
      const bytes = Buffer.from(JSON.stringify(node.output.inline));
      await objects.put(ref, bytes, { bytes: bytes.length, contentType: "application/json" });
      slimmed.push([name, { ...node, output: { ref } }]);
    } else slimmed.push([name, node]);
  }
  return Object.fromEntries(slimmed);
}

/**
 * The names that are known before it runs: those of a graph. What code calls is known from the records alone.
 */
const nodesOf = (plan: PipelinePlan): string[] =>
  "graph" in plan ? plan.graph.nodes.map(({ id }) => id) : [];

function refuseUnknown(known: ReadonlySet<string>, { from, nodes }: Rerun): void {
  const names = [...known].slice(0, 20).join(", ");
  const msg = `Value error, the request has no such node${names && `; it has ${names}`}`;
  const faults: InputFault[] = Object.keys(nodes)
    .filter((node) => !known.has(node))
    .map((node) => ({ loc: ["body", "overrides", "nodes", node], msg, type: "value_error" }));
  if (from !== undefined && !known.has(from))
    faults.unshift({ loc: ["body", "from"], msg, type: "value_error" });
  if (faults.length > 0) throw faulty(faults.slice(0, LIMITS.inputFaultsMax));
}

/** A rerun of a rerun changes what that one changed, and leaves the rest of it as it was. */
const merge = (
  before: Record<string, JsonObject>,
  more: Record<string, JsonObject>,
): Record<string, JsonObject> => ({
  ...before,
  ...Object.fromEntries(Object.entries(more).map(([node, fields]) => [node, { ...before[node], ...fields }])),
});

/**
 * The first run's input with other fields, checked as at a submit. Of a definition that is no longer at hand,
 * a field must be one that the first run had: what it means is for the nodes to say.
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
    ? route.checkInput(input)
    : { input, ignored: Object.keys(fields).filter((name) => !Object.hasOwn(before, name)) };
  const place = (loc: (string | number)[]) => ["body", "overrides", "input", ...loc.slice(1)];
  if ("faults" in checked) throw faulty(checked.faults.map((fault) => ({ ...fault, loc: place(fault.loc) })));
  if (checked.ignored.length > 0) {
    throw faulty(
      checked.ignored.map((name) => ({
        loc: place(["body", name]),
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
  if (shipped) return pipelineRoute(shipped);
  const saved = await findPipeline(job.endpoint, job.ownerId);
  return saved?.pipeline.digest === job.modelDigest ? saved : undefined;
}

const faulty = (faults: InputFault[]): TemperaError =>
  new TemperaError("input_invalid", undefined, { faults });

import { EXECUTE } from "../../core/models/endpoint.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { CompiledGraph, GraphDraft } from "../../core/pipelines/parsed-graph.ts";
import type { Json, JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import { type PipelineName, type SavedPipeline, savedEndpoint } from "../../core/pipelines/saved-pipeline.ts";
import { readNewWorkflow, readWorkflowChange } from "../../fal/workflow-record.ts";
import { createInputCheck } from "../../registry/input-check.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { Caller } from "../auth/key-ring.ts";
import { definitionError, refuseTooLarge } from "./check-definition.ts";

/** A change that was checked and is not made yet. */
interface Checked {
  name: PipelineName;
  /** What is there now. */
  before?: SavedPipeline;
  save(): Promise<SavedPipeline>;
}

/** Saving pipelines: what the Platform API and the older REST API have in common. */
export interface PipelineKeeper {
  /**
   * Throws `input_invalid` with every fault of the definition; saving it, `pipeline_exists` or
   * `pipelines_exhausted`.
   */
  create(caller: Caller, body: Json): Promise<Checked>;
  /** Throws `pipeline_unknown` for what is not the caller's own, and `input_invalid`. */
  update(caller: Caller, name: PipelineName, body: Json): Promise<Checked>;
  /** Throws `pipeline_unknown` for what is not the caller's own. */
  remove(caller: Caller, name: PipelineName): Promise<void>;
  /** One's own, and others' that are public. Throws `pipeline_unknown`. */
  show(caller: Caller, name: PipelineName, version?: number): Promise<SavedPipeline>;
}

export function createPipelineKeeper({
  pipelines,
  checkDefinition,
  clock,
}: Pick<ApiDependencies, "pipelines" | "checkDefinition" | "clock">): PipelineKeeper {
  /** Text that no store holds, and nesting that nothing should walk. */
  const checkBody = createInputCheck({
    schemas: { input: { type: "object", additionalProperties: true }, output: {} },
    restrictions: [],
  });
  const usable = (body: Json): JsonObject => {
    const checked = checkBody(body);
    if ("faults" in checked) throw definitionError(checked.faults);
    return checked.input;
  };
  const compile = async (
    name: PipelineName,
    { draft, contents }: { draft: GraphDraft; contents: JsonObject },
  ): Promise<CompiledGraph> => {
    const loc = ["body", "contents"];
    refuseTooLarge(contents, loc);
    return checkDefinition(draft, { ownerId: name.ownerId, endpoint: savedEndpoint(name), loc });
  };

  return {
    async create({ ownerId }, body) {
      const read = readNewWorkflow(usable(body));
      if ("faults" in read) throw definitionError(read.faults);
      const name = { ownerId, name: read.name };
      if (savedEndpoint(name).startsWith(`${EXECUTE}/`)) {
        const msg =
          "Value error, an owner called 'execute' has no saved workflows: their address is that of workflows that come with a call";
        throw definitionError([{ loc: ["body", "name"], msg, type: "value_error" }]);
      }
      const pipeline = {
        ...name,
        ...read.words,
        contents: read.definition.contents,
        compiled: await compile(name, read.definition),
      };
      return {
        name,
        async save() {
          const saved = await pipelines.create(pipeline, clock.nowMs(), LIMITS.pipelinesOfOwnerMax);
          if (saved === "taken") {
            throw new TemperaError(
              "pipeline_exists",
              `You have a workflow '${read.name}' already; update it, or choose another name.`,
            );
          }
          if (saved === "full") {
            const says = `You have ${LIMITS.pipelinesOfOwnerMax} saved workflows, as many as you may; remove one.`;
            throw new TemperaError("pipelines_exhausted", says);
          }
          return saved;
        },
      };
    },

    async update({ ownerId }, name, body) {
      const before = name.ownerId === ownerId ? await pipelines.find(name) : undefined;
      if (!before) throw new TemperaError("pipeline_unknown");
      const read = readWorkflowChange(usable(body), name.name);
      if ("faults" in read) throw definitionError(read.faults);
      const { words, definition } = read;
      const contents = definition && {
        contents: definition.contents,
        compiled: await compile(name, definition),
      };
      return {
        name,
        before,
        async save() {
          const saved = await pipelines.update(name, { words, ...(contents && { contents }) }, clock.nowMs());
          if (!saved) throw new TemperaError("pipeline_unknown");
          return saved;
        },
      };
    },

    async remove({ ownerId }, name) {
      if (name.ownerId !== ownerId || !(await pipelines.remove(name, clock.nowMs())))
        throw new TemperaError("pipeline_unknown");
    },

    async show({ ownerId }, name, version) {
      const saved = await pipelines.find(name, version);
      if (!saved || (saved.ownerId !== ownerId && !saved.isPublic))
        throw new TemperaError("pipeline_unknown");
      return saved;
    },
  };
}

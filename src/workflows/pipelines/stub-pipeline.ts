import type { JsonObject } from "../../core/json/json.ts";
import { definePipeline, type InputOf, type SchemaOf } from "./define-pipeline.ts";

/** The input of a node: one of the stub model or, with `stages`, one of this pipeline. */
type Step = JsonObject & { stages?: JsonObject[][] };

interface Input {
  stages: Step[][];
  throws?: string;
}

interface Output {
  stages: JsonObject[][];
}

const input: SchemaOf<Input> = {
  type: "object",
  required: ["stages"],
  properties: {
    stages: {
      title: "Stages",
      description:
        "Inputs of the stub model. Stages run one after another; the inputs of a stage run in parallel.",
      type: "array",
      items: { type: "array", items: { type: "object" } },
    },
    throws: {
      title: "Throws",
      description: "Message of an error that the pipeline's own code throws after its stages.",
      type: "string",
    },
  },
};

const output: SchemaOf<Output> = {
  type: "object",
  required: ["stages"],
  properties: {
    stages: { title: "Stages", type: "array", items: { type: "array", items: { type: "object" } } },
  },
};

/** Calls the stub model as often and in the order that the input asks for; for development and tests. */
export const stubPipeline = definePipeline(
  {
    id: "tempera/stub-pipeline",
    version: "1.0.0",
    title: "Stub pipeline",
    description: "Calls the stub model in stages, with canned answers, delays and failures on demand.",
    category: "development",
    input,
    output,
    calls: ["tempera/stub", "tempera/stub-pipeline"],
  },
  async ({ run, all, input: { stages, throws } }) => {
    const completed: JsonObject[][] = [];
    for (const [stage, steps] of stages.entries()) {
      const outputs = await all(
        steps.map(async (step, index): Promise<JsonObject> => {
          const options = { node: `stage-${stage + 1}-${index + 1}` };
          return step.stages
            ? run("tempera/stub-pipeline", step, options)
            : run("tempera/stub", step as InputOf<"tempera/stub">, options);
        }),
      );
      completed.push(outputs);
    }
    if (throws !== undefined) throw new TypeError(throws);
    return { stages: completed };
  },
);

import type { JsonObject } from "../../core/json/json.ts";
import { definePipeline, type InputOf, type SchemaOf } from "./define-pipeline.ts";

/** What a stage's node gets: an input of the stub, or, with `stages`, one of this pipeline. */
type Step = JsonObject & { stages?: JsonObject[][] };

interface Input {
  stages: Step[][];
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
        "Inputs of the stub. The stages are run one after another, the inputs of one stage side by side.",
      type: "array",
      items: { type: "array", items: { type: "object" } },
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

/**
 * As many calls of the stub as one asks for, in the order that one asks for: for development, tests and
 * benches.
 */
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
  async ({ run, all, input: { stages } }) => {
    const done: JsonObject[][] = [];
    for (const [stage, steps] of stages.entries()) {
      const outputs = await all(
        steps.map(async (step, place): Promise<JsonObject> => {
          const options = { node: `stage-${stage + 1}-${place + 1}` };
          return step.stages
            ? run("tempera/stub-pipeline", step, options)
            : run("tempera/stub", step as InputOf<"tempera/stub">, options);
        }),
      );
      done.push(outputs);
    }
    return { stages: done };
  },
);

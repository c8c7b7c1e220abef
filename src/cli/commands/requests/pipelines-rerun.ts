import type { Command } from "commander";
import { JsonNumberFault, parseJson } from "../../../core/json/exact-json.ts";
import { PlatformError } from "../../platform-client.ts";
import { print } from "../listing.ts";
import { type Connect, collect, JSON_OPTION } from "../options.ts";
import { printSubmitted, watch } from "./requests.ts";

interface Options {
  from?: string;
  set: string[];
  input: string[];
  wait?: boolean;
  low?: boolean;
  cache: boolean;
  json?: boolean;
}

/** An endpoint for the path. The queue finds a request by its id, and checks the endpoint for tokens only. */
const ANY_PIPELINE = "tempera/pipelines";

/**
 * Adds `pipelines rerun`: runs a pipeline's request again and reuses the results that a change leaves valid.
 */
export function addPipelineRerunCommand(program: Command, connect: Connect): void {
  const pipelines =
    program.commands.find((command) => command.name() === "pipelines") ?? program.command("pipelines");
  pipelines
    .command("rerun")
    .description(
      "run a pipeline's request again, reusing the results of all nodes that the change does not affect; " +
        "prints the id of the new request, or with --wait its output",
    )
    .argument("<request-id>", "an ended request of the pipeline")
    .option("--from <node>", "run this node again even if nothing of it has changed")
    .option(
      "--set <node.field=value>",
      "change a field of a node's input, as JSON or text; may be repeated",
      collect,
      [],
    )
    .option(
      "--input <field=value>",
      "change a field of the pipeline's input, as JSON or text; may be repeated",
      collect,
      [],
    )
    .option("-w, --wait", "wait for the output, showing progress")
    .option("--low", "run after all requests of normal priority")
    .option("--no-cache", "run all affected nodes, without cached results of other requests")
    .option(...JSON_OPTION)
    .action(async (id: string, options: Options, command: Command) => {
      const client = connect(command);
      const headers = {
        ...(options.low && { "x-fal-queue-priority": "low" }),
        ...(!options.cache && { "x-tempera-cache": "off" }),
      };
      const submitted = await client.rerun(ANY_PIPELINE, id, rerunBody(options), headers);
      if (!options.wait) return printSubmitted(submitted, options);
      process.stderr.write(`  request ${submitted.request_id}\n`);
      await watch(client, ANY_PIPELINE, submitted.request_id);
      print(await client.result(ANY_PIPELINE, submitted.request_id));
    });
}

/**
 * Returns the body of the rerun call.
 *
 *     rerunBody({ set: ["video.num_frames=33"], input: ["prompt=a ball"] })
 *     // { overrides: { input: { prompt: "a ball" }, nodes: { video: { num_frames: 33 } } } }
 */
export function rerunBody({ from, set, input }: Pick<Options, "from" | "set" | "input">): object {
  const nodes: Record<string, Record<string, unknown>> = {};
  for (const text of set) {
    const [path, value] = assignment("--set", text);
    const dot = path.indexOf(".");
    if (dot <= 0 || dot === path.length - 1)
      throw new PlatformError(`--set ${text}: name the node and the field, as in video.num_frames=33.`);
    const [node, field] = [path.slice(0, dot), path.slice(dot + 1)];
    nodes[node] = { ...nodes[node], [field]: value };
  }
  const fields = Object.fromEntries(input.map((text) => assignment("--input", text)));
  return { ...(from !== undefined && { from }), overrides: { input: fields, nodes } };
}

/** Reads `name=value`. A value that is valid JSON is parsed; any other is text. */
function assignment(option: string, text: string): [string, unknown] {
  const equals = text.indexOf("=");
  if (equals <= 0) throw new PlatformError(`${option} ${text}: there is no value; write name=value.`);
  const value = text.slice(equals + 1);
  try {
    return [text.slice(0, equals), parseJson(value)];
  } catch (error) {
    if (error instanceof JsonNumberFault) throw new PlatformError(`${option} ${text}: ${error.reason.msg}.`);
    return [text.slice(0, equals), value];
  }
}

import type { Command } from "commander";
import { type PlatformClient, PlatformError } from "../../platform-client.ts";
import { watch } from "./requests.ts";

interface Options {
  from?: string;
  set: string[];
  input: string[];
  wait?: boolean;
  low?: boolean;
  cache: boolean;
}

/** The queue finds a request by its id alone; what stands before it is looked at for tokens only. */
const ANY_PIPELINE = "tempera/pipelines";

const collect = (value: string, before: string[]): string[] => [...before, value];

/** `tempera pipelines rerun`: a pipeline's request again, keeping what the change does not touch. */
export function addPipelineRerunCommand(
  program: Command,
  connect: (command: Command) => PlatformClient,
): void {
  const pipelines =
    program.commands.find((command) => command.name() === "pipelines") ?? program.command("pipelines");
  pipelines
    .command("rerun")
    .description(
      "run a pipeline's request again, keeping the results of all nodes that the change does not touch",
    )
    .argument("<request-id>", "of the pipeline, once it has ended")
    .option("--from <node>", "a node that must run again, though nothing of it is changed")
    .option(
      "--set <node.field=value>",
      "a field of one node's input, as JSON or text; may be given again",
      collect,
      [],
    )
    .option("--input <field=value>", "a field of the pipeline's input, likewise", collect, [])
    .option("-w, --wait", "wait for the output, showing progress")
    .option("--low", "run after every request of normal priority")
    .option("--no-cache", "run every node that is not kept, whatever ran before elsewhere")
    .action(async (id: string, options: Options, command: Command) => {
      const client = connect(command);
      const headers = {
        ...(options.low && { "x-fal-queue-priority": "low" }),
        ...(!options.cache && { "x-tempera-cache": "off" }),
      };
      const submitted = await client.rerun(ANY_PIPELINE, id, rerunBody(options), headers);
      if (!options.wait) return print(submitted);
      process.stderr.write(`  request ${submitted.request_id}\n`);
      await watch(client, ANY_PIPELINE, submitted.request_id);
      print(await client.result(ANY_PIPELINE, submitted.request_id));
    });
}

/**
 * What the options ask for, as the queue takes it.
 *
 *     rerunBody({ set: ["video.num_frames=33"], input: ["prompt=a ball"] })
 *     // { overrides: { input: { prompt: "a ball" }, nodes: { video: { num_frames: 33 } } } }
 */
export function rerunBody({ from, set, input }: Pick<Options, "from" | "set" | "input">): object {
  const nodes: Record<string, Record<string, unknown>> = {};
  for (const text of set) {
    const [place, value] = assignment("--set", text);
    const dot = place.indexOf(".");
    if (dot <= 0 || dot === place.length - 1)
      throw new PlatformError(`--set ${text}: say which field of which node, as in video.num_frames=33.`);
    const [node, field] = [place.slice(0, dot), place.slice(dot + 1)];
    nodes[node] = { ...nodes[node], [field]: value };
  }
  const fields = Object.fromEntries(input.map((text) => assignment("--input", text)));
  return { ...(from !== undefined && { from }), overrides: { input: fields, nodes } };
}

/** `name=value`, where a value that is JSON is what it says and any other is text. */
function assignment(option: string, text: string): [string, unknown] {
  const at = text.indexOf("=");
  if (at <= 0) throw new PlatformError(`${option} ${text}: there is no value; write name=value.`);
  const value = text.slice(at + 1);
  try {
    return [text.slice(0, at), JSON.parse(value)];
  } catch {
    return [text.slice(0, at), value];
  }
}

const print = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);

import { readFileSync } from "node:fs";
import { text } from "node:stream/consumers";
import type { Command } from "commander";
import { type PlatformClient, PlatformError, type Status } from "../../platform-client.ts";
import { createProgressView } from "../../progress-view.ts";
import { addLogSearchCommand } from "./logs.ts";

const print = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);

/** `--input`: a JSON object as it stands, the name of a file that holds one, or `-` for standard input. */
async function readInput(input: string): Promise<unknown> {
  const source =
    input === "-" ? await text(process.stdin) : input.trimStart().startsWith("{") ? input : fileText(input);
  try {
    return JSON.parse(source);
  } catch (error) {
    throw new PlatformError(`--input is not JSON: ${(error as Error).message}`);
  }
}

function fileText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new PlatformError(
      `--input: ${(error as Error).message}; give a JSON object or the name of a file.`,
    );
  }
}

/** Follows a request to its end on standard error; returns its last status. */
export async function watch(client: PlatformClient, endpoint: string, requestId: string): Promise<Status> {
  const view = createProgressView(process.stderr);
  let last: Status | undefined;
  for await (const status of client.follow(endpoint, requestId)) {
    view.show(status);
    last = status;
  }
  view.end();
  return last as Status;
}

/** `submit`, `status`, `logs`, `result`, `cancel`: the queue, from a terminal. */
export function addRequestCommands(program: Command, connect: (command: Command) => PlatformClient): void {
  const endpointAndId = (name: string, says: string): Command =>
    program
      .command(name)
      .description(says)
      .argument("<endpoint>", "as it was submitted to, e.g. fal-ai/qwen-image")
      .argument("<request-id>");

  program
    .command("submit")
    .description("submit a request; prints its id, or with --wait its output")
    .argument("<endpoint>", "e.g. fal-ai/qwen-image")
    .requiredOption("-i, --input <json|file|->", "the model's input")
    .option("-w, --wait", "wait for the output, showing progress")
    .option("--low", "run after every request of normal priority")
    .option("--start-timeout <seconds>", "give up when it has not started by then")
    .action(
      async (
        endpoint: string,
        options: { input: string; wait?: boolean; low?: boolean; startTimeout?: string },
        command: Command,
      ) => {
        const client = connect(command);
        const headers = {
          ...(options.low && { "x-fal-queue-priority": "low" }),
          ...(options.startTimeout && { "x-fal-request-timeout": options.startTimeout }),
        };
        const submitted = await client.submit(endpoint, await readInput(options.input), headers);
        if (!options.wait) return print(submitted);
        process.stderr.write(`  request ${submitted.request_id}\n`);
        await watch(client, endpoint, submitted.request_id);
        print(await client.result(endpoint, submitted.request_id));
      },
    );

  endpointAndId("status", "show where a request stands").action(
    async (endpoint: string, id: string, _: object, command: Command) =>
      print(await connect(command).status(endpoint, id)),
  );

  const logs = endpointAndId("logs", "show a request's log lines, or find lines of any")
    .option("-f, --follow", "go on until the request has ended")
    .action(async (endpoint: string, id: string, { follow }: { follow?: boolean }, command: Command) => {
      const client = connect(command);
      const show = ({ logs }: Status): void => {
        for (const { timestamp, level, message } of logs ?? [])
          process.stdout.write(`${timestamp} ${level.padEnd(5)} ${message}\n`);
      };
      if (!follow) return show(await client.status(endpoint, id));
      for await (const status of client.follow(endpoint, id)) show(status);
    });
  addLogSearchCommand(logs, connect);

  endpointAndId("result", "print a finished request's output").action(
    async (endpoint: string, id: string, _: object, command: Command) =>
      print(await connect(command).result(endpoint, id)),
  );

  endpointAndId("cancel", "cancel a request, waiting or running").action(
    async (endpoint: string, id: string, _: object, command: Command) => {
      await connect(command).cancel(endpoint, id);
      process.stderr.write("Cancel requested.\n");
    },
  );
}

/**
 * Commands about requests: submit and follow them (`requests.ts`), search their logs, list the ended ones,
 * saved workflows and reruns of pipelines, deliveries of webhooks, and dead letters.
 */
import { readFileSync } from "node:fs";
import { text } from "node:stream/consumers";
import type { Command } from "commander";
import { escapeControl } from "../../../core/json/escape-control.ts";
import { JsonNumberFault, parseJson } from "../../../core/json/exact-json.ts";
import { type PlatformClient, PlatformError, type Status } from "../../platform-client.ts";
import { createProgressView } from "../../progress-view.ts";
import { print } from "../listing.ts";
import { type Connect, JSON_OPTION } from "../options.ts";
import { addLogSearchCommand } from "./logs.ts";

/** Reads `--input`: a JSON object, the name of a file that holds one, or `-` for standard input. */
async function readInput(input: string): Promise<unknown> {
  const source =
    input === "-" ? await text(process.stdin) : input.trimStart().startsWith("{") ? input : fileText(input);
  try {
    return parseJson(source);
  } catch (error) {
    const fault = error instanceof JsonNumberFault ? "cannot be sent" : "is not JSON";
    throw new PlatformError(`--input ${fault}: ${(error as Error).message}`);
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

/** Shows the progress of a request on standard error until it has ended; returns its last status. */
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

/** Prints the id of a submitted request alone, so that a script can keep it, or the whole response. */
export function printSubmitted(submitted: Status, { json }: { json?: boolean }): void {
  if (json) print(submitted);
  else process.stdout.write(`${submitted.request_id}\n`);
}

interface SubmitOptions {
  input: string;
  wait?: boolean;
  low?: boolean;
  startTimeout?: string;
  json?: boolean;
}

/** Adds `submit`, `status`, `logs`, `result` and `cancel`: the queue API. */
export function addRequestCommands(program: Command, connect: Connect): void {
  addSubmit(program, connect);
  addLogs(program, connect);
  endpointAndId(program, "status", "print the status of a request").action(
    async (endpoint: string, id: string, _: object, command: Command) =>
      print(await connect(command).status(endpoint, id)),
  );
  endpointAndId(program, "result", "print the output of a finished request").action(
    async (endpoint: string, id: string, _: object, command: Command) =>
      print(await connect(command).result(endpoint, id)),
  );
  endpointAndId(program, "cancel", "cancel a waiting or running request").action(
    async (endpoint: string, id: string, _: object, command: Command) => {
      await connect(command).cancel(endpoint, id);
      process.stderr.write("Cancel requested.\n");
    },
  );
}

const endpointAndId = (program: Command, name: string, description: string): Command =>
  program
    .command(name)
    .description(description)
    .argument("<endpoint>", "endpoint that the request was submitted to, e.g. fal-ai/qwen-image")
    .argument("<request-id>");

function addSubmit(program: Command, connect: Connect): void {
  program
    .command("submit")
    .description("submit a request; prints its id, or with --wait its output")
    .argument("<endpoint>", "e.g. fal-ai/qwen-image")
    .requiredOption("-i, --input <json|file|->", "input of the model")
    .option("-w, --wait", "wait for the output, showing progress")
    .option("--low", "run after all requests of normal priority")
    .option("--start-timeout <seconds>", "cancel the request if it has not started by then")
    .option(...JSON_OPTION)
    .action(async (endpoint: string, options: SubmitOptions, command: Command) => {
      const client = connect(command);
      const headers = {
        ...(options.low && { "x-fal-queue-priority": "low" }),
        ...(options.startTimeout && { "x-fal-request-timeout": options.startTimeout }),
      };
      const submitted = await client.submit(endpoint, await readInput(options.input), headers);
      if (!options.wait) return printSubmitted(submitted, options);
      process.stderr.write(`  request ${submitted.request_id}\n`);
      await watch(client, endpoint, submitted.request_id);
      print(await client.result(endpoint, submitted.request_id));
    });
}

function addLogs(program: Command, connect: Connect): void {
  const logs = endpointAndId(program, "logs", "print the log lines of a request, or search all log lines")
    .option("-f, --follow", "continue until the request has ended")
    .action(async (endpoint: string, id: string, { follow }: { follow?: boolean }, command: Command) => {
      const client = connect(command);
      if (!follow) return printLogs(await client.status(endpoint, id));
      for await (const status of client.follow(endpoint, id)) printLogs(status);
    });
  addLogSearchCommand(logs, connect);
}

function printLogs({ logs }: Status): void {
  for (const { timestamp, level, message } of logs ?? [])
    process.stdout.write(`${timestamp} ${level.padEnd(5)} ${escapeControl(message)}\n`);
}

import type { Command } from "commander";
import type { EndedRequestView } from "../../../api/admin/routes/requests/requests.ts";
import { table } from "../../table.ts";
import { listed, print, shortTime } from "../listing.ts";
import { type Connect, JSON_OPTION, LIMIT_OPTION } from "../options.ts";

interface DeletedView {
  cdn_delete_results: { link: string; exception: string | null }[];
}

interface ListOptions {
  status?: string;
  owner?: string;
  since?: string;
  longest?: boolean;
  payloads?: boolean;
  limit: string;
  json?: boolean;
}

/** Adds `requests list|delete-payloads` for ended requests, and `queue size|flush` for waiting ones. */
export function addEndedRequestCommands(program: Command, connect: Connect): void {
  const requests = program.command("requests").description("list ended requests, and delete their payloads");
  addList(requests, connect);
  addDeletePayloads(requests, connect);
  addQueue(program, connect);
}

function addList(requests: Command, connect: Connect): void {
  requests
    .command("list")
    .description(
      "list the ended requests of an endpoint, newest first; a key of scope ADMIN sees all owners'",
    )
    .argument("<endpoint>", "e.g. fal-ai/qwen-image")
    .option("--status <success|error|user_error>", "only with this result")
    .option("--owner <owner>", "only of this owner (needs a key of scope ADMIN)")
    .option("--since <time>", "an ISO date or date-time; default: a day ago")
    .option("--longest", "longest first")
    .option("--payloads", "with input and output, as JSON")
    .option(...LIMIT_OPTION, "50")
    .option(...JSON_OPTION)
    .action(async (endpoint: string, options: ListOptions, command: Command) => {
      const { status, owner, since, longest, payloads, limit, json } = options;
      const filter = {
        endpoint_id: endpoint,
        ...(status && { status }),
        ...(owner && { owner }),
        ...(since && { start: since }),
        ...(longest && { sort_by: "duration" }),
        ...(payloads && { expand: "payloads" }),
      };
      const path = "/v1/models/requests/by-endpoint";
      const all = await listed<EndedRequestView>(connect(command), path, "items", limit, filter, 100);
      if (json || payloads) return print(all);
      const rows = all.map((each) => [
        each.request_id,
        each.owner ?? "",
        shortTime(each.ended_at),
        String(each.status_code),
        `${each.duration.toFixed(2)} s`,
      ]);
      process.stdout.write(`${table(["REQUEST", "OWNER", "ENDED", "STATUS", "DURATION"], rows)}\n`);
    });
}

function addDeletePayloads(requests: Command, connect: Connect): void {
  requests
    .command("delete-payloads")
    .description(
      "delete the input, the output and the produced files of a request (needs a key of scope ADMIN)",
    )
    .argument("<request-id>")
    .option(...JSON_OPTION)
    .action(async (requestId: string, { json }: { json?: boolean }, command: Command) => {
      const path = `/v1/models/requests/${encodeURIComponent(requestId)}/payloads`;
      const reply = await connect(command).admin<DeletedView>("DELETE", path);
      if (json) return print(reply);
      for (const { link, exception } of reply.cdn_delete_results)
        process.stdout.write(`${exception ?? "deleted"}  ${link}\n`);
      process.stderr.write("The input and the output are deleted.\n");
      if (reply.cdn_delete_results.some(({ exception }) => exception !== null)) process.exitCode = 1;
    });
}

function addQueue(program: Command, connect: Connect): void {
  const queue = program.command("queue").description("show or flush the queue of an app");
  queue
    .command("size")
    .description("print the number of waiting requests")
    .argument("<app>", "owner/alias, e.g. fal-ai/qwen-image")
    .action(async (app: string, _: object, command: Command) => {
      const { queue_size } = await connect(command).admin<{ queue_size: number }>(
        "GET",
        `/v1/serverless/apps/${app}/queue`,
      );
      process.stdout.write(`${queue_size}\n`);
    });
  queue
    .command("flush")
    .description("cancel the waiting requests: your own, or with a key of scope ADMIN all owners'")
    .argument("<app>", "owner/alias, e.g. fal-ai/qwen-image")
    .action(async (app: string, _: object, command: Command) => {
      await connect(command).admin("DELETE", `/v1/serverless/apps/${app}/queue`);
      process.stderr.write("Flushed.\n");
    });
}

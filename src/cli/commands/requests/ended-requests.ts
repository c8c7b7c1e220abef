import type { Command } from "commander";
import type { PlatformClient } from "../../platform-client.ts";
import { table } from "../../table.ts";
import { listed, print, shortTime } from "../listing.ts";

interface EndedView {
  request_id: string;
  owner?: string;
  ended_at: string;
  status_code: number;
  duration: number;
}

interface DeletedView {
  cdn_delete_results: { link: string; exception: string | null }[];
}

/** `requests list|delete-payloads`: requests that have ended. */
export function addEndedRequestCommands(
  program: Command,
  connect: (command: Command) => PlatformClient,
): void {
  const requests = program.command("requests").description("requests that have ended");
  requests
    .command("list")
    .description("list the requests of an endpoint, newest first; a key of scope ADMIN sees everybody's")
    .argument("<endpoint>", "e.g. fal-ai/qwen-image")
    .option("--status <success|error|user_error>", "only those that ended so")
    .option("--owner <owner>", "of one owner (needs a key of scope ADMIN)")
    .option("--since <time>", "an ISO date or date-time; default: a day ago")
    .option("--longest", "longest first")
    .option("--payloads", "with input and output, as JSON")
    .option("--limit <n>", "how many at most", "50")
    .option("--json", "print the answer as JSON")
    .action(
      async (
        endpoint: string,
        options: {
          status?: string;
          owner?: string;
          since?: string;
          longest?: boolean;
          payloads?: boolean;
          limit: string;
          json?: boolean;
        },
        command: Command,
      ) => {
        const { status, owner, since, longest, payloads, limit, json } = options;
        const filter = {
          endpoint_id: endpoint,
          ...(status && { status }),
          ...(owner && { owner }),
          ...(since && { start: since }),
          ...(longest && { sort_by: "duration" }),
          ...(payloads && { expand: "payloads" }),
        };
        const all = await listed<EndedView>(
          connect(command),
          "/v1/models/requests/by-endpoint",
          "items",
          limit,
          filter,
          100,
        );
        if (json || payloads) return print(all);
        const rows = all.map((each) => [
          each.request_id,
          each.owner ?? "",
          shortTime(each.ended_at),
          String(each.status_code),
          `${each.duration.toFixed(2)} s`,
        ]);
        process.stdout.write(`${table(["REQUEST", "OWNER", "ENDED", "CODE", "TOOK"], rows)}\n`);
      },
    );
  requests
    .command("delete-payloads")
    .description("delete input, output and produced files of a request (needs a key of scope ADMIN)")
    .argument("<request-id>")
    .option("--json", "print the answer as JSON")
    .action(async (requestId: string, { json }: { json?: boolean }, command: Command) => {
      const path = `/v1/models/requests/${encodeURIComponent(requestId)}/payloads`;
      const answer = await connect(command).admin<DeletedView>("DELETE", path);
      if (json) return print(answer);
      for (const { link, exception } of answer.cdn_delete_results)
        process.stdout.write(`${exception ?? "deleted"}  ${link}\n`);
      process.stderr.write("Input and output are deleted.\n");
      if (answer.cdn_delete_results.some(({ exception }) => exception !== null)) process.exitCode = 1;
    });

  const queue = program.command("queue").description("the queue of an app");
  queue
    .command("size")
    .description("how many requests wait")
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
    .description("cancel the requests that wait: your own, with a key of scope ADMIN everybody's")
    .argument("<app>", "owner/alias, e.g. fal-ai/qwen-image")
    .action(async (app: string, _: object, command: Command) => {
      await connect(command).admin("DELETE", `/v1/serverless/apps/${app}/queue`);
      process.stderr.write("Flushed.\n");
    });
}

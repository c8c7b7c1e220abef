import type { Command } from "commander";
import type { DeadLetterView } from "../../../api/admin/routes/requests/dead-letters.ts";
import { table } from "../../table.ts";
import { listed, print, shortTime } from "../listing.ts";
import { type Connect, JSON_OPTION, LIMIT_OPTION } from "../options.ts";

/**
 * Adds `dead-letters list|show|retry|discard`: jobs that used up their attempts. Needs a key of scope ADMIN.
 */
export function addDeadLetterCommands(program: Command, connect: Connect): void {
  const letters = program
    .command("dead-letters")
    .description("retry or discard jobs that used up their attempts (needs a key of scope ADMIN)");
  const path = (id: string, rest = ""): string => `/v1/dead-letters/${encodeURIComponent(id)}${rest}`;
  letters
    .command("list")
    .description("list the dead letters, newest first")
    .option(...LIMIT_OPTION, "50")
    .option(...JSON_OPTION)
    .action(async ({ limit, json }: { limit: string; json?: boolean }, command: Command) => {
      const all = await listed<DeadLetterView>(connect(command), "/v1/dead-letters", "dead_letters", limit);
      if (json) return print(all);
      const rows = all.map((each) => [
        each.request_id,
        `${each.endpoint_id} ${each.version}`,
        each.owner,
        String(each.attempts),
        shortTime(each.created_at),
        each.reason.slice(0, 80),
      ]);
      process.stdout.write(`${table(["REQUEST", "MODEL", "OWNER", "ATTEMPTS", "SINCE", "REASON"], rows)}\n`);
    });
  letters
    .command("show")
    .description("show one dead letter with its input and its error, as JSON")
    .argument("<request-id>")
    .action(async (id: string, _: object, command: Command) =>
      print(await connect(command).admin("GET", path(id))),
    );
  letters
    .command("retry")
    .description("run the job again as a new request; prints the new request's id")
    .argument("<request-id>")
    .action(async (id: string, _: object, command: Command) => {
      const { request_id } = await connect(command).admin<{ request_id: string }>("POST", path(id, "/retry"));
      process.stdout.write(`${request_id}\n`);
    });
  letters
    .command("discard")
    .description("delete a dead letter without a retry; the request keeps its error")
    .argument("<request-id>")
    .action(async (id: string, _: object, command: Command) => {
      await connect(command).admin("DELETE", path(id));
      process.stderr.write("Discarded.\n");
    });
}

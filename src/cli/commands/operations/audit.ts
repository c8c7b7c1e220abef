import type { Command } from "commander";
import type { AuditView } from "../../../api/admin/routes/operations/audit.ts";
import { table } from "../../table.ts";
import { listed, print, shortTime } from "../listing.ts";
import { type Connect, JSON_OPTION, LIMIT_OPTION } from "../options.ts";

interface ListOptions {
  action?: string;
  subject?: string;
  by?: string;
  since?: string;
  limit: string;
  json?: boolean;
}

/** Adds `audit list`: the changes that were made through the admin service. Needs a key of scope ADMIN. */
export function addAuditCommands(program: Command, connect: Connect): void {
  const audit = program.command("audit").description("list changes (needs a key of scope ADMIN)");
  audit
    .command("list")
    .description("list changes, newest first; --json includes the states before and after")
    .option(
      "--action <action>",
      "only this action, such as keys.create, or all with this prefix, such as keys",
    )
    .option("--subject <subject>", "only of this key, endpoint, owner, …")
    .option("--by <owner>", "only made with keys of this owner")
    .option("--since <time>", "an ISO date or date-time")
    .option(...LIMIT_OPTION, "50")
    .option(...JSON_OPTION)
    .action(async ({ action, subject, by, since, limit, json }: ListOptions, command: Command) => {
      const filter = {
        ...(action && { action }),
        ...(subject && { subject }),
        ...(by && { owner: by }),
        ...(since && { start: since }),
      };
      const all = await listed<AuditView>(connect(command), "/v1/tempera/audit", "audit", limit, filter);
      if (json) return print(all);
      const rows = all.map((record) => [
        shortTime(record.at),
        record.owner,
        record.key_id.slice(0, 8),
        record.action,
        record.subject,
        record.error_code ? `${record.state}: ${record.error_code}` : record.state,
      ]);
      process.stdout.write(`${table(["TIME", "OWNER", "KEY", "ACTION", "SUBJECT", "STATE"], rows)}\n`);
    });
}

import type { Command } from "commander";
import type { PlatformClient } from "../../platform-client.ts";
import { table } from "../../table.ts";
import { listed, print, shortTime } from "../listing.ts";

interface AuditView {
  at: string;
  key_id: string;
  owner: string;
  action: string;
  subject: string;
  state: string;
  error_code: string | null;
}

/** `audit list`: who changed what through the admin service. Needs a key of scope ADMIN. */
export function addAuditCommands(program: Command, connect: (command: Command) => PlatformClient): void {
  const audit = program.command("audit").description("who changed what (needs a key of scope ADMIN)");
  audit
    .command("list")
    .description("list changes, newest first; --json has what was before and after")
    .option("--action <action>", "only these: keys.create, or keys for all of them")
    .option("--subject <subject>", "of one key, endpoint, owner, …")
    .option("--by <owner>", "made with keys of this owner")
    .option("--since <time>", "an ISO date or date-time")
    .option("--limit <n>", "how many at most", "50")
    .option("--json", "print the answer as JSON")
    .action(
      async (
        options: Record<"action" | "subject" | "by" | "since", string | undefined> & {
          limit: string;
          json?: boolean;
        },
        command,
      ) => {
        const { action, subject, by, since, limit, json } = options;
        const all = await listed<AuditView>(
          connect(command as Command),
          "/v1/tempera/audit",
          "audit",
          limit,
          {
            ...(action && { action }),
            ...(subject && { subject }),
            ...(by && { owner: by }),
            ...(since && { start: since }),
          },
        );
        if (json) return print(all);
        const rows = all.map((record) => [
          shortTime(record.at),
          record.owner,
          record.key_id.slice(0, 8),
          record.action,
          record.subject,
          record.error_code ? `${record.state}: ${record.error_code}` : record.state,
        ]);
        process.stdout.write(`${table(["AT", "BY", "KEY", "ACTION", "SUBJECT", "STATE"], rows)}\n`);
      },
    );
}

import type { Command } from "commander";
import type { PlatformClient } from "../../platform-client.ts";
import { table } from "../../table.ts";
import { print, shortTime } from "../listing.ts";

interface TotalView {
  owner: string;
  day: string;
  endpoint_id: string;
  unit: string;
  quantity: number;
  cost: number;
  currency: string;
  requests: number;
  results: number;
  device_seconds: number;
  attempts_uncounted: number;
}

interface CheckView {
  checked_at: string;
  from: string;
  until: string;
  workflows: number;
  written: number;
  differences: { request_id: string; says: string }[];
}

/** `usage`: what requests cost, by the ledger. Needs a key of scope ADMIN. */
export function addUsageCommands(program: Command, connect: (command: Command) => PlatformClient): void {
  const usage = program
    .command("usage")
    .description("what was used and what it costs, by owner, endpoint and day (needs a key of scope ADMIN)")
    .option("--owner <owner>", "of one owner")
    .option("--endpoint <endpoint>", "of one endpoint")
    .option("--from <date>", "from this day on (2026-11-01); 30 days ago when absent")
    .option("--until <date>", "before this day; now when absent")
    .option("--json", "print the answer as JSON")
    .action(
      async (
        options: { owner?: string; endpoint?: string; from?: string; until?: string; json?: boolean },
        command: Command,
      ) => {
        const query = new URLSearchParams();
        const given = {
          owner: options.owner,
          endpoint_id: options.endpoint,
          start: options.from,
          end: options.until,
        };
        for (const [name, value] of Object.entries(given)) if (value !== undefined) query.set(name, value);
        const { totals } = await connect(command).admin<{ totals: TotalView[] }>(
          "GET",
          `/v1/tempera/usage?${query}`,
        );
        if (options.json) return print(totals);
        const rows = totals.map((each) => [
          each.day,
          each.owner,
          each.endpoint_id,
          String(each.requests),
          String(each.results),
          `${each.quantity} ${each.unit}`,
          `${each.cost} ${each.currency}`,
          each.device_seconds.toFixed(1),
          String(each.attempts_uncounted),
        ]);
        const head = [
          "DAY",
          "OWNER",
          "ENDPOINT",
          "REQUESTS",
          "RESULTS",
          "UNITS",
          "COST",
          "DEVICE S",
          "FREE TRIES",
        ];
        process.stdout.write(`${table(head, rows)}\n`);
      },
    );
  usage
    .command("checks")
    .description("the looks at the ledger beside Temporal, newest first")
    .option("--run", "look now, at the last two hours")
    .option("--json", "print the answer as JSON")
    .action(async (_: object, command: Command) => {
      const { run, json } = command.optsWithGlobals<{ run?: boolean; json?: boolean }>();
      const client = connect(command);
      if (run) {
        await client.admin("POST", "/v1/tempera/usage/checks");
        process.stderr.write("A look was started; `tempera usage checks` shows it when it is through.\n");
        return;
      }
      const { checks } = await client.admin<{ checks: CheckView[] }>("GET", "/v1/tempera/usage/checks");
      if (json) return print(checks);
      const rows = checks.map((each) => [
        shortTime(each.from),
        shortTime(each.until),
        String(each.workflows),
        String(each.written),
        String(each.differences.length),
        each.differences[0] ? `${each.differences[0].request_id}: ${each.differences[0].says}` : "",
      ]);
      process.stdout.write(`${table(["FROM", "UNTIL", "JOBS", "WRITTEN", "DIFFER", ""], rows)}\n`);
    });
}

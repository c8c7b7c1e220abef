import type { Command } from "commander";
import type { UsageCheckView, UsageTotalView } from "../../../api/admin/routes/owners/usage.ts";
import { table } from "../../table.ts";
import { print, shortTime } from "../listing.ts";
import { type Connect, JSON_OPTION } from "../options.ts";

interface UsageOptions {
  owner?: string;
  endpoint?: string;
  from?: string;
  until?: string;
  json?: boolean;
}

const TOTALS_HEADER = [
  "DAY",
  "OWNER",
  "ENDPOINT",
  "REQUESTS",
  "RESULTS",
  "UNITS",
  "COST",
  "DEVICE S",
  "FREE ATTEMPTS",
];

const totalRow = (total: UsageTotalView): string[] => [
  total.day,
  total.owner,
  total.endpoint_id,
  String(total.requests),
  String(total.results),
  `${total.quantity} ${total.unit}`,
  `${total.cost} ${total.currency}`,
  total.device_seconds.toFixed(1),
  String(total.attempts_uncounted),
];

const checkRow = (check: UsageCheckView): string[] => {
  const [first] = check.differences;
  return [
    shortTime(check.from),
    shortTime(check.until),
    String(check.workflows),
    String(check.written),
    String(check.differences.length),
    first ? `${first.request_id}: ${first.message}` : "",
  ];
};

/** Adds `usage` and `usage checks`: the usage ledger. Needs a key of scope ADMIN. */
export function addUsageCommands(program: Command, connect: Connect): void {
  const usage = program
    .command("usage")
    .description("show usage and its cost by owner, endpoint and day (needs a key of scope ADMIN)")
    .option("--owner <owner>", "only of this owner")
    .option("--endpoint <endpoint>", "only of this endpoint")
    .option("--from <date>", "first day (2026-11-01); default: 30 days ago")
    .option("--until <date>", "the day after the last one; default: now")
    .option(...JSON_OPTION)
    .action(async (options: UsageOptions, command: Command) => {
      const { owner, endpoint, from, until, json } = options;
      const query = new URLSearchParams({
        ...(owner !== undefined && { owner }),
        ...(endpoint !== undefined && { endpoint_id: endpoint }),
        ...(from !== undefined && { start: from }),
        ...(until !== undefined && { end: until }),
      });
      const { totals } = await connect(command).admin<{ totals: UsageTotalView[] }>(
        "GET",
        `/v1/tempera/usage?${query}`,
      );
      if (json) return print(totals);
      process.stdout.write(`${table(TOTALS_HEADER, totals.map(totalRow))}\n`);
    });
  usage
    .command("checks")
    .description("list the comparisons of the ledger with Temporal, newest first")
    .option("--run", "start a comparison of the last two hours now")
    .option(...JSON_OPTION)
    .action(async (_: object, command: Command) => {
      const { run, json } = command.optsWithGlobals<{ run?: boolean; json?: boolean }>();
      const client = connect(command);
      if (run) {
        await client.admin("POST", "/v1/tempera/usage/checks");
        process.stderr.write("Started; `tempera usage checks` shows the result when it has ended.\n");
        return;
      }
      const { checks } = await client.admin<{ checks: UsageCheckView[] }>("GET", "/v1/tempera/usage/checks");
      if (json) return print(checks);
      const header = ["FROM", "UNTIL", "WORKFLOWS", "WRITTEN", "DIFFERENCES", ""];
      process.stdout.write(`${table(header, checks.map(checkRow))}\n`);
    });
}

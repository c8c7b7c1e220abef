import type { Command } from "commander";
import type { PlatformClient } from "../../platform-client.ts";
import { print } from "../listing.ts";

interface LineView {
  timestamp: string;
  level: string;
  message: string;
  app: string;
  labels: { request_id: string };
}

/** The most that one answer holds. */
const PAGE_MAX = 1000;

/**
 * `logs search`, beside `logs <endpoint> <request-id>`, which it cannot be taken for: an endpoint has a
 * slash. With a key of scope API, of its owner's.
 */
export function addLogSearchCommand(logs: Command, connect: (command: Command) => PlatformClient): void {
  logs
    .command("search")
    .description("find log lines: the newest request first")
    .argument("[words...]", "words that all stand in the line")
    .option("--request <id>", "of one request")
    .option("--endpoint <endpoint>", "of an endpoint and what lies below it")
    .option("--level <level>", "DEBUG, INFO, WARN or ERROR")
    .option("--from <time>", "from then on; 24 hours ago when absent")
    .option("--until <time>", "up to then; now when absent")
    .option("--limit <n>", "how many at most", "100")
    .option("--json", "print the answer as JSON")
    .action(
      async (words: string[], options: Record<string, string> & { json?: boolean }, command: Command) => {
        const { request, endpoint, level, from, until, limit = "100", json } = options;
        const wanted = /^[1-9]\d{0,6}$/.test(limit) ? Number(limit) : Number.NaN;
        if (Number.isNaN(wanted)) throw new Error(`--limit ${limit} is not a number from 1 to 9999999.`);
        const given = {
          search: words.join(" ") || undefined,
          request_id: request,
          app_id: endpoint,
          level,
          start: from,
          end: until,
        };
        const query = new URLSearchParams();
        for (const [name, value] of Object.entries(given)) if (value !== undefined) query.set(name, value);
        const client = connect(command);
        const lines: LineView[] = [];
        for (let cursor: string | null = ""; cursor !== null && lines.length < wanted; ) {
          query.set("limit", String(Math.min(PAGE_MAX, wanted - lines.length)));
          if (cursor) query.set("cursor", cursor);
          const page: { items: LineView[]; next_cursor: string | null } = await client.admin(
            "GET",
            `/v1/serverless/logs/history?${query}`,
          );
          lines.push(...page.items);
          cursor = page.next_cursor;
        }
        if (json) return print(lines);
        for (const { timestamp, level: of, message, labels } of lines)
          process.stdout.write(
            `${timestamp.slice(0, 23)}  ${of.padEnd(5)}  ${labels.request_id}  ${message}\n`,
          );
      },
    );
}

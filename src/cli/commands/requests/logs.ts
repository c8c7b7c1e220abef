import type { Command } from "commander";
import type { LogLineView } from "../../../api/admin/routes/requests/logs.ts";
import { escapeControl } from "../../../core/json/escape-control.ts";
import { listed, print } from "../listing.ts";
import { type Connect, JSON_OPTION, LIMIT_OPTION } from "../options.ts";

interface SearchOptions {
  request?: string;
  endpoint?: string;
  level?: string;
  from?: string;
  until?: string;
  limit: string;
  json?: boolean;
}

/**
 * Adds `logs search` beside `logs <endpoint> <request-id>`. The two cannot be confused, because an endpoint
 * contains a slash. A key of scope API finds the lines of its owner's requests.
 */
export function addLogSearchCommand(logs: Command, connect: Connect): void {
  logs
    .command("search")
    .description("find log lines, newest request first")
    .argument("[words...]", "words that the line must all contain")
    .option("--request <id>", "only of this request")
    .option("--endpoint <endpoint>", "only of this endpoint and the endpoints below it")
    .option("--level <level>", "DEBUG, INFO, WARN or ERROR")
    .option("--from <time>", "earliest time; default: 24 hours ago")
    .option("--until <time>", "latest time; default: now")
    .option(...LIMIT_OPTION, "100")
    .option(...JSON_OPTION)
    .action(async (words: string[], options: SearchOptions, command: Command) => {
      const { request, endpoint, level, from, until, limit, json } = options;
      const filter = {
        ...(words.length > 0 && { search: words.join(" ") }),
        ...(request !== undefined && { request_id: request }),
        ...(endpoint !== undefined && { app_id: endpoint }),
        ...(level !== undefined && { level }),
        ...(from !== undefined && { start: from }),
        ...(until !== undefined && { end: until }),
      };
      const path = "/v1/serverless/logs/history";
      const lines = await listed<LogLineView>(connect(command), path, "items", limit, filter);
      if (json) return print(lines);
      for (const { timestamp, level: lineLevel, message, labels } of lines) {
        const line = [timestamp.slice(0, 23), lineLevel.padEnd(5), labels.request_id, escapeControl(message)];
        process.stdout.write(`${line.join("  ")}\n`);
      }
    });
}

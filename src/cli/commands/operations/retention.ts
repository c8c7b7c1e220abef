import type { Command } from "commander";
import type { PlatformClient } from "../../platform-client.ts";
import { table } from "../../table.ts";
import { print, shortTime } from "../listing.ts";

interface StatusView {
  times: Record<string, number | null>;
  deleted: { kind: string; items: number; items_today: number }[];
  sweeps: {
    sweep: string;
    every_seconds: number;
    paused: boolean;
    next_at: string | null;
    runs: {
      workflow_id: string;
      started_at: string;
      state: string;
      deleted: Record<string, number> | null;
    }[];
  }[];
}

/** `2 days`, `90 minutes`, `for ever`. */
function lasting(seconds: number | null): string {
  if (seconds === null) return "for ever";
  for (const [unit, length] of [
    ["days", 86_400],
    ["hours", 3_600],
    ["minutes", 60],
  ] as const)
    if (seconds >= 2 * length) return `${Math.round((seconds / length) * 10) / 10} ${unit}`;
  return `${seconds} seconds`;
}

/** `retention status|run`: how long things are kept, and what was deleted. Needs a key of scope ADMIN. */
export function addRetentionCommands(program: Command, connect: (command: Command) => PlatformClient): void {
  const retention = program
    .command("retention")
    .description(
      "how long things are kept, what was deleted, when the next sweep is (needs a key of scope ADMIN)",
    );
  retention
    .command("status")
    .description("times, what was deleted by kind, and the sweeps")
    .option("--json", "print the answer as JSON")
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      const status = await connect(command).admin<StatusView>("GET", "/v1/tempera/retention");
      if (json) return print(status);
      const times = Object.entries(status.times).map(([name, seconds]) => [
        name.replace("_seconds", ""),
        lasting(seconds),
      ]);
      const deleted = status.deleted.map(({ kind, items, items_today }) => [
        kind,
        String(items),
        String(items_today),
      ]);
      const runs = status.sweeps.flatMap(({ sweep, runs: latest }) =>
        latest.map((run) => [
          sweep,
          shortTime(run.started_at),
          run.state,
          Object.entries(run.deleted ?? {})
            .map(([kind, items]) => `${items} ${kind}`)
            .join(", "),
        ]),
      );
      process.stdout.write(
        `${table(["KEPT", "FOR"], times)}\n\n${table(["DELETED", "EVER", "TODAY"], deleted)}\n\n`,
      );
      process.stdout.write(`${table(["SWEEP", "STARTED", "STATE", "DELETED"], runs)}\n`);
      for (const { sweep, paused, next_at, every_seconds } of status.sweeps) {
        const next = paused ? "paused" : `next ${shortTime(next_at)}, every ${lasting(every_seconds)}`;
        process.stdout.write(`${sweep}: ${next}\n`);
      }
    });
  retention
    .command("run")
    .description("start a sweep now, unless one is under way")
    .option("--orphans", "the one that looks for bytes without a record and records without bytes")
    .action(async ({ orphans }: { orphans?: boolean }, command: Command) => {
      await connect(command).admin("POST", "/v1/tempera/retention/run", {
        sweep: orphans ? "orphans" : "expired",
      });
      process.stderr.write("Started; `tempera retention status` shows what it deletes.\n");
    });
  retention
    .command("set")
    .description("the times of one owner, in seconds, or `never`; what is not named is the installation's")
    .argument("<owner>")
    .option("--requests <seconds>", "records of requests")
    .option("--payloads <seconds>", "inputs and outputs")
    .option("--logs <seconds>", "log lines")
    .option("--artifacts <seconds>", "produced files")
    .option("--uploads <seconds>", "uploaded files")
    .action(async (owner: string, options: Record<string, string>, command: Command) => {
      const fields = {
        requests: "request",
        payloads: "payload",
        logs: "log",
        artifacts: "artifact",
        uploads: "upload",
      };
      const body = Object.fromEntries(
        Object.entries(fields).flatMap(([option, field]) => {
          const given = options[option];
          if (given === undefined) return [];
          if (given !== "never" && !/^\d{1,10}$/.test(given))
            throw new Error(`--${option} ${given} is neither a number of seconds nor never.`);
          return [[`${field}_seconds`, given === "never" ? null : Number(given)]];
        }),
      );
      print(
        await connect(command).admin(
          "PUT",
          `/v1/tempera/retention/owners/${encodeURIComponent(owner)}`,
          body,
        ),
      );
    });
}

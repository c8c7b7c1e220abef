import type { Command } from "commander";
import type { RetentionView } from "../../../api/admin/routes/operations/retention.ts";
import { table } from "../../table.ts";
import { print, shortTime } from "../listing.ts";
import { type Connect, JSON_OPTION } from "../options.ts";

/** Returns `2 days`, `90 minutes` or `forever`. */
function durationText(seconds: number | null): string {
  if (seconds === null) return "forever";
  for (const [unit, length] of [
    ["days", 86_400],
    ["hours", 3_600],
    ["minutes", 60],
  ] as const)
    if (seconds >= 2 * length) return `${Math.round((seconds / length) * 10) / 10} ${unit}`;
  return `${seconds} seconds`;
}

/** Adds `retention status|run|set`: retention times and sweeps. Needs a key of scope ADMIN. */
export function addRetentionCommands(program: Command, connect: Connect): void {
  const retention = program
    .command("retention")
    .description("show and set retention times, and run sweeps (needs a key of scope ADMIN)");
  retention
    .command("status")
    .description("show the retention times, the number of deleted items by kind, and the sweeps")
    .option(...JSON_OPTION)
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      const status = await connect(command).admin<RetentionView>("GET", "/v1/tempera/retention");
      if (json) return print(status);
      process.stdout.write(statusText(status));
    });
  retention
    .command("run")
    .description("start a sweep of expired data now, unless one is running")
    .option("--orphans", "start the sweep of bytes without a record and records without bytes instead")
    .action(async ({ orphans }: { orphans?: boolean }, command: Command) => {
      const sweep = orphans ? "orphans" : "expired";
      await connect(command).admin("POST", "/v1/tempera/retention/run", { sweep });
      process.stderr.write("Started; `tempera retention status` shows what it deletes.\n");
    });
  addSet(retention, connect);
}

function statusText(status: RetentionView): string {
  const times = Object.entries(status.times).map(([name, seconds]) => [
    name.replace("_seconds", ""),
    durationText(seconds),
  ]);
  const deleted = status.deleted.map(({ kind, items, items_today }) => [
    kind,
    String(items),
    String(items_today),
  ]);
  const runs = status.sweeps.flatMap((sweep) =>
    sweep.runs.map((run) => [
      sweep.sweep,
      shortTime(run.started_at),
      run.state,
      Object.entries(run.deleted ?? {})
        .map(([kind, items]) => `${items} ${kind}`)
        .join(", "),
    ]),
  );
  const schedules = status.sweeps.map(({ sweep, paused, next_at, every_seconds }) =>
    paused
      ? `${sweep}: paused`
      : `${sweep}: next ${shortTime(next_at)}, every ${durationText(every_seconds)}`,
  );
  return [
    table(["DATA", "RETENTION"], times),
    "",
    table(["DELETED", "TOTAL", "TODAY"], deleted),
    "",
    table(["SWEEP", "STARTED", "STATE", "DELETED"], runs),
    ...schedules,
    "",
  ].join("\n");
}

function addSet(retention: Command, connect: Connect): void {
  retention
    .command("set")
    .description(
      "set the retention times of one owner, in seconds or `never`; those not named are the installation's",
    )
    .argument("<owner>")
    .option("--requests <seconds>", "records of requests")
    .option("--payloads <seconds>", "inputs and outputs")
    .option("--logs <seconds>", "log lines")
    .option("--artifacts <seconds>", "produced files")
    .option("--uploads <seconds>", "uploaded files")
    .action(async (owner: string, options: Record<string, string>, command: Command) => {
      const path = `/v1/tempera/retention/owners/${encodeURIComponent(owner)}`;
      print(await connect(command).admin("PUT", path, timesOf(options)));
    });
}

function timesOf(options: Record<string, string>): Record<string, number | null> {
  const fields = {
    requests: "request_seconds",
    payloads: "payload_seconds",
    logs: "log_seconds",
    artifacts: "artifact_seconds",
    uploads: "upload_seconds",
  };
  return Object.fromEntries(
    Object.entries(fields).flatMap(([option, field]) => {
      const value = options[option];
      if (value === undefined) return [];
      if (value !== "never" && !/^\d{1,10}$/.test(value))
        throw new Error(`--${option} ${value} is neither a number of seconds nor never.`);
      return [[field, value === "never" ? null : Number(value)]];
    }),
  );
}

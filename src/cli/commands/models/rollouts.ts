import type { Command } from "commander";
import type { RolloutView } from "../../../api/admin/routes/models/rollouts.ts";
import type { PlatformClient } from "../../platform-client.ts";
import { table } from "../../table.ts";
import { print, shortTime } from "../listing.ts";
import { type Connect, JSON_OPTION } from "../options.ts";

interface StartOptions {
  share: string;
  auto?: boolean;
  window?: string;
  requests?: string;
  errorMargin?: string;
  p95Ratio?: string;
  promoteAfter?: string;
}

/** Returns the path of a rollout, which is named by its id or by the endpoint whose rollout is running. */
async function pathOf(client: PlatformClient, idOrEndpoint: string, action: string): Promise<string> {
  const path = (id: string): string => `/v1/rollouts/${encodeURIComponent(id)}/${action}`;
  if (!idOrEndpoint.includes("/")) return path(idOrEndpoint);
  const { rollouts } = await client.admin<{ rollouts: RolloutView[] }>("GET", "/v1/rollouts");
  const running = rollouts.find(
    ({ endpoint_id, state }) => endpoint_id === idOrEndpoint && state === "running",
  );
  if (!running) throw new Error(`${idOrEndpoint} has no running rollout; see \`tempera rollouts list\`.`);
  return path(running.rollout_id);
}

function report({ endpoint_id, from_version, to_version, share, state }: RolloutView): void {
  const text = state === "running" ? `${share} %` : state.replace("_", " ");
  process.stderr.write(`${endpoint_id}: ${from_version} → ${to_version}, ${text}.\n`);
}

/** Adds `rollouts list|start|share|promote|rollback`. Needs a key of scope ADMIN. */
export function addRolloutCommands(program: Command, connect: Connect): void {
  const rollouts = program
    .command("rollouts")
    .description("send shares of the requests to newer versions (needs a key of scope ADMIN)");
  addList(rollouts, connect);
  addStart(rollouts, connect);
  rollouts
    .command("share")
    .description("change the share of a rollout")
    .argument("<id-or-endpoint>")
    .argument("<percent>")
    .action(async (idOrEndpoint: string, percent: string, _: object, command: Command) => {
      const client = connect(command);
      const path = await pathOf(client, idOrEndpoint, "share");
      report(await client.admin<RolloutView>("PUT", path, { share: Number(percent) }));
    });
  for (const [action, description] of [
    ["promote", "send all requests to the newer version"],
    ["rollback", "send all requests to the older version, and disable the newer one"],
  ] as const) {
    rollouts
      .command(action)
      .description(description)
      .argument("<id-or-endpoint>")
      .option("--reason <text>", "reason, which the rollout keeps")
      .action(async (idOrEndpoint: string, { reason }: { reason?: string }, command: Command) => {
        const client = connect(command);
        const path = await pathOf(client, idOrEndpoint, action);
        report(await client.admin<RolloutView>("POST", path, reason === undefined ? {} : { reason }));
      });
  }
}

function addList(rollouts: Command, connect: Connect): void {
  rollouts
    .command("list")
    .description("list the running rollouts and the last ones that ended, newest first")
    .option(...JSON_OPTION)
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      const { rollouts: all } = await connect(command).admin<{ rollouts: RolloutView[] }>(
        "GET",
        "/v1/rollouts",
      );
      if (json) return print(all);
      const rows = all.map((each) => [
        each.rollout_id,
        each.endpoint_id,
        `${each.from_version} → ${each.to_version}`,
        `${each.share} %`,
        each.state,
        each.rules ? "by rules" : "by hand",
        shortTime(each.started_at),
        each.reason ?? "",
      ]);
      process.stdout.write(
        `${table(["ID", "ENDPOINT", "VERSIONS", "SHARE", "STATE", "ENDS", "STARTED", "REASON"], rows)}\n`,
      );
    });
}

function addStart(rollouts: Command, connect: Connect): void {
  rollouts
    .command("start")
    .description("send a share of an endpoint's requests to a newer version")
    .argument("<endpoint>")
    .argument("<version>")
    .requiredOption("--share <percent>", "share of the requests; 0 only loads the weights on GPU workers")
    .option("--auto", "roll back automatically when the newer version is worse; the rules are below")
    .option("--window <seconds>", "seconds before now whose ended requests are compared")
    .option("--requests <n>", "ended requests of the newer version below which nothing is compared")
    .option("--error-margin <points>", "percentage points by which its error rate may be higher")
    .option("--p95-ratio <factor>", "factor by which its p95 duration may be higher")
    .option("--promote-after <seconds>", "promote automatically when it was not worse for this long")
    .action(async (endpoint: string, version: string, options: StartOptions, command: Command) => {
      const rules = rulesOf(options);
      const hasRules = options.auto || Object.keys(rules).length > 0;
      const started = await connect(command).admin<RolloutView>("POST", "/v1/rollouts", {
        endpoint_id: endpoint,
        to_version: version,
        share: Number(options.share),
        ...(hasRules && { rules }),
      });
      process.stdout.write(`${started.rollout_id}\n`);
      report(started);
    });
}

function rulesOf(options: StartOptions): Record<string, number> {
  const rules = {
    window_seconds: options.window,
    requests_min: options.requests,
    error_margin: options.errorMargin,
    p95_ratio: options.p95Ratio,
    promote_after_seconds: options.promoteAfter,
  };
  return Object.fromEntries(
    Object.entries(rules).flatMap(([name, value]) => (value === undefined ? [] : [[name, Number(value)]])),
  );
}

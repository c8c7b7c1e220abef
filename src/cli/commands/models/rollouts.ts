import type { Command } from "commander";
import type { PlatformClient } from "../../platform-client.ts";
import { table } from "../../table.ts";
import { print, shortTime } from "../listing.ts";

interface RolloutView {
  rollout_id: string;
  endpoint_id: string;
  from_version: string;
  to_version: string;
  share: number;
  state: string;
  rules: object | null;
  reason: string | null;
  started_at: string;
}

interface StartOptions {
  share: string;
  auto?: boolean;
  window?: string;
  requests?: string;
  errorMargin?: string;
  p95Ratio?: string;
  promoteAfter?: string;
}

/** A rollout by its id, or the one that an endpoint has. */
async function idOf(client: PlatformClient, which: string): Promise<string> {
  if (!which.includes("/")) return which;
  const { rollouts } = await client.admin<{ rollouts: RolloutView[] }>("GET", "/v1/rollouts");
  const running = rollouts.find(({ endpoint_id, state }) => endpoint_id === which && state === "running");
  if (!running) throw new Error(`${which} has no rollout that runs; see \`tempera rollouts list\`.`);
  return running.rollout_id;
}

const say = ({ endpoint_id, from_version, to_version, share, state }: RolloutView): void =>
  void process.stderr.write(
    `${endpoint_id}: ${from_version} → ${to_version}, ${state === "running" ? `${share} %` : state.replace("_", " ")}.\n`,
  );

/** `rollouts list|start|share|promote|rollback`: needs a key of scope ADMIN. */
export function addRolloutCommands(program: Command, connect: (command: Command) => PlatformClient): void {
  const rollouts = program
    .command("rollouts")
    .description("shares of requests for newer versions (needs a key of scope ADMIN)");
  rollouts
    .command("list")
    .description("those that run and the last that ended, newest first")
    .option("--json", "print the answer as JSON")
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
        `${table(["ID", "ENDPOINT", "VERSIONS", "SHARE", "STATE", "ENDS", "STARTED", "WHY"], rows)}\n`,
      );
    });
  rollouts
    .command("start")
    .description("send a share of an endpoint's requests to a newer version")
    .argument("<endpoint>")
    .argument("<version>")
    .requiredOption("--share <percent>", "0 only brings its weights to the GPU workers")
    .option("--auto", "roll it back by itself when it is worse; the options below have defaults")
    .option("--window <seconds>", "how far back is looked")
    .option("--requests <n>", "fewer ended requests say nothing")
    .option("--error-margin <points>", "percentage points more of errors that are allowed")
    .option("--p95-ratio <times>", "times the older version's p95 that are allowed")
    .option("--promote-after <seconds>", "promote it by itself when it was not worse for this long")
    .action(async (endpoint: string, version: string, options: StartOptions, command: Command) => {
      const rules = Object.fromEntries(
        (
          [
            ["window_seconds", options.window],
            ["requests_min", options.requests],
            ["error_margin", options.errorMargin],
            ["p95_ratio", options.p95Ratio],
            ["promote_after_seconds", options.promoteAfter],
          ] as const
        ).flatMap(([name, value]) => (value === undefined ? [] : [[name, Number(value)]])),
      );
      const byRules = options.auto || Object.keys(rules).length > 0;
      const body = {
        endpoint_id: endpoint,
        to_version: version,
        share: Number(options.share),
        ...(byRules && { rules }),
      };
      const started = await connect(command).admin<RolloutView>("POST", "/v1/rollouts", body);
      process.stdout.write(`${started.rollout_id}\n`);
      say(started);
    });
  rollouts
    .command("share")
    .description("change the share")
    .argument("<id-or-endpoint>")
    .argument("<percent>")
    .action(async (which: string, percent: string, _: object, command: Command) => {
      const client = connect(command);
      say(
        await client.admin<RolloutView>(
          "PUT",
          `/v1/rollouts/${encodeURIComponent(await idOf(client, which))}/share`,
          {
            share: Number(percent),
          },
        ),
      );
    });
  for (const [verb, says] of [
    ["promote", "let the newer version serve everybody"],
    ["rollback", "let the older version serve everybody, and disable the newer one"],
  ] as const) {
    rollouts
      .command(verb)
      .description(says)
      .argument("<id-or-endpoint>")
      .option("--reason <text>", "kept with the rollout")
      .action(async (which: string, { reason }: { reason?: string }, command: Command) => {
        const client = connect(command);
        const path = `/v1/rollouts/${encodeURIComponent(await idOf(client, which))}/${verb}`;
        say(await client.admin<RolloutView>("POST", path, reason === undefined ? {} : { reason }));
      });
  }
}

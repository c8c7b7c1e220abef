import type { Command } from "commander";
import type { PlatformClient } from "../../platform-client.ts";
import { table } from "../../table.ts";
import { listed, print, shortTime } from "../listing.ts";

type AllowanceView = Record<string, number | null>;
interface PlanView {
  plan: string;
  allowance: AllowanceView;
  updated_at: string | null;
}
interface OwnerView {
  owner: string;
  keys_active: number;
  plan: string;
  exceptions: AllowanceView;
  allowance?: AllowanceView;
  updated_at: string | null;
}

const limitsText = (allowance: AllowanceView): string =>
  Object.entries(allowance)
    .flatMap(([name, value]) => (value === null ? [] : [`${name}=${value}`]))
    .join(" ");

/** `requests_per_second=5 queued=none`: what to set, and what to take away. */
function readFields(fields: string[]): Record<string, number | null> {
  return Object.fromEntries(
    fields.map((field) => {
      const [, name, value] = /^([a-z_]+)=(none|-?\d+(?:\.\d+)?)$/.exec(field) ?? [];
      if (name === undefined)
        throw new Error(
          `"${field}" is not <name>=<number> or <name>=none, for example requests_per_second=5.`,
        );
      return [name, value === "none" ? null : Number(value)];
    }),
  );
}

const show = (json: boolean | undefined, value: unknown, line: string): void =>
  json ? print(value) : void process.stdout.write(`${line}\n`);

/** `plans …` and `owners …`: what owners and keys may use. Needs a key of scope ADMIN. */
export function addPlanCommands(program: Command, connect: (command: Command) => PlatformClient): void {
  const plans = program
    .command("plans")
    .description("what owners may use, by name (needs a key of scope ADMIN)");
  plans
    .command("list")
    .option("--json", "print the answer as JSON")
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      const { plans: all } = await connect(command).admin<{ plans: PlanView[] }>("GET", "/v1/tempera/plans");
      if (json) return print(all);
      const rows = all.map(({ plan, allowance, updated_at }) => [
        plan,
        shortTime(updated_at),
        limitsText(allowance),
      ]);
      process.stdout.write(`${table(["PLAN", "CHANGED", "ALLOWS"], rows)}\n`);
    });
  plans
    .command("set")
    .description(
      "change fields of a plan, or make one: `plans set gold requests_per_second=50 burst=100 weight=3 queued=none`",
    )
    .argument("<plan>")
    .argument("[fields...]", "<name>=<number>, or <name>=none for no limit")
    .option("--json", "print the answer as JSON")
    .action(async (plan: string, fields: string[], { json }: { json?: boolean }, command: Command) => {
      const made = await connect(command).admin<PlanView>(
        "PATCH",
        `/v1/tempera/plans/${encodeURIComponent(plan)}`,
        readFields(fields),
      );
      show(json, made, `${made.plan}: ${limitsText(made.allowance) || "no limits"}`);
    });
  plans
    .command("remove")
    .description("remove a plan that no owner has")
    .argument("<plan>")
    .action(async (plan: string, _: object, command: Command) => {
      await connect(command).admin("DELETE", `/v1/tempera/plans/${encodeURIComponent(plan)}`);
      process.stderr.write("Removed.\n");
    });

  const owners = program
    .command("owners")
    .description("which plan each owner has, and its exceptions (needs a key of scope ADMIN)");
  owners
    .command("list")
    .description("list owners: their keys, plan and exceptions")
    .option("--limit <n>", "how many at most", "50")
    .option("--json", "print the answer as JSON")
    .action(async ({ json, limit }: { json?: boolean; limit: string }, command: Command) => {
      const all = await listed<OwnerView>(connect(command), "/v1/tempera/owners", "owners", limit);
      if (json) return print(all);
      const rows = all.map(({ owner, keys_active, plan, exceptions, updated_at }) => [
        owner,
        String(keys_active),
        plan,
        shortTime(updated_at),
        limitsText(exceptions),
      ]);
      process.stdout.write(`${table(["OWNER", "KEYS", "PLAN", "CHANGED", "EXCEPTIONS"], rows)}\n`);
    });
  owners
    .command("show")
    .description("what an owner may use: its plan's allowance with its exceptions")
    .argument("<owner>")
    .option("--json", "print the answer as JSON")
    .action(async (owner: string, { json }: { json?: boolean }, command: Command) => {
      const found = await connect(command).admin<OwnerView>(
        "GET",
        `/v1/tempera/owners/${encodeURIComponent(owner)}`,
      );
      show(
        json,
        found,
        `${found.owner}: plan ${found.plan}; ${limitsText(found.allowance ?? {}) || "no limits"}`,
      );
    });
  owners
    .command("set")
    .description(
      "give an owner a plan, or exceptions: `owners set ann --plan gold in_progress=4 queued=none`",
    )
    .argument("<owner>")
    .argument("[exceptions...]", "<name>=<number>, or <name>=none to go by the plan again")
    .option("--plan <plan>", "the plan it has from now on")
    .option("--json", "print the answer as JSON")
    .action(
      async (
        owner: string,
        fields: string[],
        { plan, json }: { plan?: string; json?: boolean },
        command: Command,
      ) => {
        const made = await connect(command).admin<OwnerView>(
          "PATCH",
          `/v1/tempera/owners/${encodeURIComponent(owner)}`,
          {
            ...(plan !== undefined && { plan }),
            exceptions: readFields(fields),
          },
        );
        show(
          json,
          made,
          `${made.owner}: plan ${made.plan}; ${limitsText(made.allowance ?? {}) || "no limits"}`,
        );
      },
    );
  owners
    .command("key")
    .description(
      "what one key has of its own: `owners key <key-id> requests_per_second=1 same_input_seconds=30`",
    )
    .argument("<key-id>")
    .argument("[fields...]", "<name>=<number>, or <name>=none; without any, it is shown")
    .option("--json", "print the answer as JSON")
    .action(async (keyId: string, fields: string[], { json }: { json?: boolean }, command: Command) => {
      const path = `/v1/tempera/keys/${encodeURIComponent(keyId)}/allowance`;
      const client = connect(command);
      const found = await (fields.length === 0
        ? client.admin<{ key_id: string; allowance: AllowanceView }>("GET", path)
        : client.admin<{ key_id: string; allowance: AllowanceView }>("PATCH", path, readFields(fields)));
      show(json, found, `${found.key_id}: ${limitsText(found.allowance) || "nothing of its own"}`);
    });
}

/**
 * Commands about owners and what belongs to them: plans, owners and the limits of both (`plans.ts`), keys,
 * usage and the access to files.
 */
import type { Command } from "commander";
import { table } from "../../table.ts";
import { listed, print, shortTime } from "../listing.ts";
import { type Connect, JSON_OPTION, LIMIT_OPTION } from "../options.ts";

type LimitsView = Record<string, number | boolean | null>;
interface PlanView {
  plan: string;
  limits: LimitsView;
  updated_at: string | null;
}
interface OwnerView {
  owner: string;
  keys_active: number;
  plan: string;
  exceptions: LimitsView;
  limits?: LimitsView;
  updated_at: string | null;
}
interface KeyLimitsView {
  key_id: string;
  limits: LimitsView;
}
interface JsonOption {
  json?: boolean;
}

const limitsText = (limits: LimitsView): string =>
  Object.entries(limits)
    .flatMap(([name, value]) => (value === null ? [] : [`${name}=${value}`]))
    .join(" ");

const VALUES = { true: true, false: false } as const;

/** Reads `requests_per_second=5 queued=none`: limits to set, and limits to remove. */
const readFields = (fields: string[]): LimitsView =>
  Object.fromEntries(
    fields.map((field) => {
      const [, name, value] = /^([a-z_]+)=(none|true|false|-?\d+(?:\.\d+)?)$/.exec(field) ?? [];
      if (name === undefined)
        throw new Error(
          `"${field}" is not <name>=<number>, <name>=true or <name>=none, ` +
            "for example requests_per_second=5.",
        );
      return [name, VALUES[value as keyof typeof VALUES] ?? (value === "none" ? null : Number(value))];
    }),
  );

const show = (json: boolean | undefined, value: unknown, line: string): void =>
  json ? print(value) : void process.stdout.write(`${line}\n`);

/** Adds `plans …` and `owners …`: the limits of owners and keys. Needs a key of scope ADMIN. */
export function addPlanCommands(program: Command, connect: Connect): void {
  addPlans(program, connect);
  const owners = program
    .command("owners")
    .description("show and change the plans of owners, and their exceptions (needs a key of scope ADMIN)");
  addOwnerList(owners, connect);
  addOwner(owners, connect);
  addKeyLimits(owners, connect);
}

function addPlans(program: Command, connect: Connect): void {
  const plans = program
    .command("plans")
    .description("list and change plans: named limits of owners (needs a key of scope ADMIN)");
  plans
    .command("list")
    .description("list the plans by name")
    .option(...JSON_OPTION)
    .action(async ({ json }: JsonOption, command: Command) => {
      const { plans: all } = await connect(command).admin<{ plans: PlanView[] }>("GET", "/v1/tempera/plans");
      if (json) return print(all);
      const rows = all.map(({ plan, limits, updated_at }) => [
        plan,
        shortTime(updated_at),
        limitsText(limits),
      ]);
      process.stdout.write(`${table(["PLAN", "CHANGED", "LIMITS"], rows)}\n`);
    });
  plans
    .command("set")
    .description(
      "change limits of a plan, or create one: " +
        "`plans set gold requests_per_second=50 burst=100 weight=3 queued=none`",
    )
    .argument("<plan>")
    .argument("[fields...]", "<name>=<number>, <name>=true, or <name>=none for no limit")
    .option(...JSON_OPTION)
    .action(async (plan: string, fields: string[], { json }: JsonOption, command: Command) => {
      const path = `/v1/tempera/plans/${encodeURIComponent(plan)}`;
      const changed = await connect(command).admin<PlanView>("PATCH", path, readFields(fields));
      show(json, changed, `${changed.plan}: ${limitsText(changed.limits) || "no limits"}`);
    });
  plans
    .command("remove")
    .description("remove a plan that no owner has")
    .argument("<plan>")
    .action(async (plan: string, _: object, command: Command) => {
      await connect(command).admin("DELETE", `/v1/tempera/plans/${encodeURIComponent(plan)}`);
      process.stderr.write("Removed.\n");
    });
}

function addOwnerList(owners: Command, connect: Connect): void {
  owners
    .command("list")
    .description("list the owners with their keys, plans and exceptions")
    .option(...LIMIT_OPTION, "50")
    .option(...JSON_OPTION)
    .action(async ({ json, limit }: JsonOption & { limit: string }, command: Command) => {
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
}

function addOwner(owners: Command, connect: Connect): void {
  const path = (owner: string): string => `/v1/tempera/owners/${encodeURIComponent(owner)}`;
  const line = ({ owner, plan, limits = {} }: OwnerView): string =>
    `${owner}: plan ${plan}; ${limitsText(limits) || "no limits"}`;
  owners
    .command("show")
    .description("show the limits of an owner: the plan's, with the owner's exceptions")
    .argument("<owner>")
    .option(...JSON_OPTION)
    .action(async (owner: string, { json }: JsonOption, command: Command) => {
      const found = await connect(command).admin<OwnerView>("GET", path(owner));
      show(json, found, line(found));
    });
  owners
    .command("set")
    .description(
      "give an owner a plan, or exceptions: `owners set ann --plan gold in_progress=4 queued=none`",
    )
    .argument("<owner>")
    .argument("[exceptions...]", "<name>=<number>, or <name>=none to return to the plan's limit")
    .option("--plan <plan>", "the new plan of the owner")
    .option(...JSON_OPTION)
    .action(
      async (
        owner: string,
        fields: string[],
        { plan, json }: JsonOption & { plan?: string },
        command: Command,
      ) => {
        const changed = await connect(command).admin<OwnerView>("PATCH", path(owner), {
          ...(plan !== undefined && { plan }),
          exceptions: readFields(fields),
        });
        show(json, changed, line(changed));
      },
    );
}

function addKeyLimits(owners: Command, connect: Connect): void {
  owners
    .command("key")
    .description(
      "show or change the limits of one key: `owners key <key-id> requests_per_second=1 " +
        "same_input_seconds=30`",
    )
    .argument("<key-id>")
    .argument("[fields...]", "<name>=<number>, or <name>=none; without fields, the limits are shown")
    .option(...JSON_OPTION)
    .action(async (keyId: string, fields: string[], { json }: JsonOption, command: Command) => {
      const path = `/v1/tempera/keys/${encodeURIComponent(keyId)}/limits`;
      const client = connect(command);
      const found = await (fields.length === 0
        ? client.admin<KeyLimitsView>("GET", path)
        : client.admin<KeyLimitsView>("PATCH", path, readFields(fields)));
      show(json, found, `${found.key_id}: ${limitsText(found.limits) || "no limits of its own"}`);
    });
}

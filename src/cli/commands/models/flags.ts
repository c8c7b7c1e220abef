import type { Command } from "commander";
import type { FlagView } from "../../../api/admin/routes/models/flags.ts";
import { table } from "../../table.ts";
import { print, shortTime } from "../listing.ts";
import { type Connect, JSON_OPTION } from "../options.ts";

const pathOf = (kind: string, name: string): string =>
  `/v1/flags/${encodeURIComponent(kind)}/${name.split("/").map(encodeURIComponent).join("/")}`;

const shareText = (share: number): string =>
  share === 0 ? "off" : share === 100 ? "on" : `on for ${share} % of the owners`;

/** Reads `on`, `off`, or a percentage. */
function shareOf(value: string): number {
  if (value === "on" || value === "off") return value === "on" ? 100 : 0;
  const share = Number(value.replace(/%$/, ""));
  if (value.trim() === "" || Number.isNaN(share))
    throw new Error(`"${value}" is neither on nor off nor a percentage.`);
  return share;
}

/** Adds `flags list|set|clear`: switches of models, workflows and behaviours. Needs a key of scope ADMIN. */
export function addFlagCommands(program: Command, connect: Connect): void {
  const flags = program
    .command("flags")
    .description("switch models, workflows and behaviours on or off (needs a key of scope ADMIN)");
  flags
    .command("list")
    .description("list the flags that are set, and all behaviours; whatever has no flag is on")
    .option(...JSON_OPTION)
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      const found = await connect(command).admin<{ flags: FlagView[]; behaviours: Record<string, string> }>(
        "GET",
        "/v1/flags",
      );
      if (json) return print(found);
      const rows = found.flags.map((flag) => [
        flag.kind,
        flag.name,
        flag.owner ?? "everybody",
        shareText(flag.share),
        shortTime(flag.changed_at),
      ]);
      process.stdout.write(`${table(["KIND", "NAME", "OWNER", "STATE", "SINCE"], rows)}\n\n`);
      process.stdout.write(`${table(["BEHAVIOUR", "DESCRIPTION"], Object.entries(found.behaviours))}\n`);
    });
  flags
    .command("set")
    .description("switch something on or off, or on for a share of the owners")
    .argument("<kind>", "model, workflow or behaviour")
    .argument("<name>", "an endpoint, or the name of a behaviour")
    .argument("<on|off|percent>")
    .option("--owner <name>", "only for this owner")
    .action(
      async (kind: string, name: string, value: string, { owner }: { owner?: string }, command: Command) => {
        const body = { share: shareOf(value), ...(owner !== undefined && { owner }) };
        const flag = await connect(command).admin<FlagView>("PUT", pathOf(kind, name), body);
        process.stderr.write(
          `${flag.kind} ${flag.name} is ${shareText(flag.share)}, for ${flag.owner ?? "everybody"}.\n`,
        );
      },
    );
  flags
    .command("clear")
    .description("remove a flag")
    .argument("<kind>")
    .argument("<name>")
    .option("--owner <name>", "the flag of this owner")
    .action(async (kind: string, name: string, { owner }: { owner?: string }, command: Command) => {
      const query = owner === undefined ? "" : `?owner=${encodeURIComponent(owner)}`;
      await connect(command).admin("DELETE", `${pathOf(kind, name)}${query}`);
      process.stderr.write("Removed.\n");
    });
}

import type { Command } from "commander";
import { writeJson } from "../../../core/json/exact-json.ts";
import { table } from "../../table.ts";
import { collect, JSON_OPTION } from "../options.ts";

/** Adds `config show`: the settings of this machine's files, environment and options. Calls no platform. */
export function addConfigCommands(program: Command): void {
  program
    .command("config")
    .description("show the settings of a platform that is started here")
    .command("show")
    .description("print every setting with its value and its source; secrets are masked")
    .option("--set <setting=value>", "override a setting, as for start; may be repeated", collect, [])
    .option(...JSON_OPTION)
    .action(async ({ set, json }: { set: string[]; json?: boolean }) => {
      const { showConfig } = await import("../../../config/show-config.ts");
      const shown = showConfig(process.env, set);
      if (json) return void process.stdout.write(`${writeJson(shown)}\n`);
      const rows = shown.map(({ setting, value, unit, source }) => {
        const text = textOf(value);
        return [setting, unit && text ? `${text} ${unit}` : text, source];
      });
      process.stdout.write(`${table(["SETTING", "VALUE", "SOURCE"], rows)}\n`);
    });
}

/** Words a value: a list with commas, a mapping as JSON. */
function textOf(value: unknown): string {
  if (value === null) return "";
  if (Array.isArray(value)) return value.join(",");
  return typeof value === "object" ? writeJson(value) : String(value);
}

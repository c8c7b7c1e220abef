import type { Command } from "commander";
import { table } from "../../table.ts";

/** `config show`: the values that this machine's files, environment and options come to. Talks to nobody. */
export function addConfigCommands(program: Command): void {
  program
    .command("config")
    .description("what the platform is configured with when it is started from here")
    .command("show")
    .description("print every setting with its value and where that is from; secrets are masked")
    .option("--set <setting=value>", "override one setting, as for start", collect, [])
    .option("--json", "print the settings as JSON")
    .action(async ({ set, json }: { set: string[]; json?: boolean }) => {
      const { showConfig } = await import("../../../config/show-config.ts");
      const shown = showConfig(process.env, set);
      if (json) return void process.stdout.write(`${JSON.stringify(shown)}\n`);
      const rows = shown.map(({ setting, value, unit, source }) => {
        const text = value === null ? "" : Array.isArray(value) ? value.join(",") : String(value);
        return [setting, unit && text ? `${text} ${unit}` : text, source];
      });
      process.stdout.write(`${table(["SETTING", "VALUE", "SOURCE"], rows)}\n`);
    });
}

/** Gathers the values of an option that may be given several times. */
export const collect = (value: string, before: string[]): string[] => [...before, value];

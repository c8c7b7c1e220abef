import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { SETTINGS, type Setting } from "./settings.ts";

it("docs/configuration.md is the table of settings, group by group, in its order", () => {
  const page = readFileSync(new URL("../../docs/configuration.md", import.meta.url), "utf8");
  const documented = (page.split("## Settings\n")[1]?.split("\n## ")[0] ?? "")
    .split("\n### ")
    .slice(1)
    .map((section) => {
      const [group, ...lines] = section.split("\n");
      const rows = lines
        .filter((line) => line.startsWith("| `"))
        .map((line) =>
          line
            .split("|")
            .slice(1, -1)
            .map((cell) => cell.trim()),
        );
      return [group, rows];
    });
  const groups = Object.entries(SETTINGS) as [string, Record<string, Setting<unknown>>][];
  expect(documented).toEqual(
    groups.map(([group, settings]) => [
      group,
      Object.entries(settings).map(([name, { env, default: fallback, says, secret }]) => [
        `\`${group}.${name}\``,
        `\`${env}\`${secret ? " (secret)" : ""}`,
        fallback === undefined ? "" : `\`${String(fallback)}\``,
        says,
      ]),
    ]),
  );
});

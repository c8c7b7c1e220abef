import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { SETTINGS, type Setting } from "./settings.ts";

it("docs/configuration.md lists the settings of the table, group by group, in its order", () => {
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
      Object.entries(settings).map(([name, { env, default: fallback, description, secret, live, unit }]) => [
        `\`${group}.${name}\`${live ? " (live)" : ""}`,
        `\`${env}\`${secret ? " (secret)" : ""}`,
        fallback === undefined
          ? ""
          : `\`${String(fallback)}\`${unit && /\d/.test(String(fallback)) ? ` ${unit}` : ""}`,
        description,
      ]),
    ]),
  );
});

it("every number except a port has a unit", () => {
  for (const [group, settings] of Object.entries(SETTINGS) as [string, Record<string, Setting<unknown>>][])
    for (const [name, { schema, unit }] of Object.entries(settings)) {
      const isNumber = [1, 1024].some((number) => schema.safeParse(String(number)).data === number);
      expect([`${group}.${name}`, isNumber && !/port$/i.test(name) ? (unit ?? "no unit") : unit]).toEqual([
        `${group}.${name}`,
        unit,
      ]);
    }
});

it("a request's waits for stores keep its history far below Temporal's 10 000 events", () => {
  const { schema } = SETTINGS.worker.storeWaitSeconds;
  // One wait is up to 11 events, and all but the first few are at least 30 s apart.
  const longest = (5_000 / 11) * 30;
  expect(schema.safeParse("7200").success).toBe(true);
  expect(schema.safeParse(String(longest)).success).toBe(false);
});

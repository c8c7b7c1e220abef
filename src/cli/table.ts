import { escapeControl } from "../core/json/escape-control.ts";

/** Aligns rows in columns for a terminal. */
export function table(header: string[], given: string[][]): string {
  const rows = given.map((row) => row.map(escapeControl));
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? "").length)),
  );
  return [header, ...rows]
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

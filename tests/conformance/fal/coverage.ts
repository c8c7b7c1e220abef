/** Generates `COVERAGE.md`: the test of each case of the contract, or the reason why it has none. */
import { CASES, CASES_BY_NUMBER } from "./cases/index.ts";

export function coverageText(): string {
  const rows = Array.from({ length: CASES }, (_, i) => {
    const each = CASES_BY_NUMBER.find(({ number }) => number === i + 1);
    if (!each) return [String(i + 1), "", "**missing**"];
    return [
      String(each.number),
      each.title.replaceAll("|", "\\|"),
      each.why === undefined
        ? [`\`${each.file}\``, ...(each.elsewhere ? [each.elsewhere] : [])].join("; ")
        : `not applicable: ${each.why}`,
    ];
  });
  const head = ["case", "behaviour", "test"];
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: string[]): string =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(" | ")} |`;
  return `# Coverage

The conformance cases of fal's protocol, and the test of each. \`npm run conformance -- --coverage\` writes
this page; a test keeps it up to date.

${[line(head), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n")}
`;
}

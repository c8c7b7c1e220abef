/** The report of an evaluated model, as JSON and as text. */
import type { JsonObject } from "../core/json/json.ts";
import type { ModelVersion } from "../core/models/model.ts";
import type { EvaluatedModel } from "./evaluate-model.ts";
import { type Check, checksOf, shareOf, type Verdict } from "./evaluation.ts";

export interface EvaluationReport {
  model: string;
  version: string;
  digest: string;
  /** The number of entries. */
  count: number;
  /** Fields of the input that differ from the API's defaults. */
  input: JsonObject;
  /** Wall time per entry. */
  secondsEach: number;
  /** The share of entries with each quality correct. */
  shares: Record<string, number>;
  measures?: Record<string, { mean: number; lowest: number }>;
  /** Summaries of the entries that are wrong in a quality with a limit. */
  wrong: string[];
  checks: Check[];
}

export function createReport(
  model: ModelVersion,
  { evaluation: { limits }, verdicts, secondsEach }: EvaluatedModel,
  input: JsonObject,
): EvaluationReport {
  const qualities = Object.keys(verdicts[0]?.correct ?? {});
  const measures = measuresOf(verdicts);
  return {
    model: model.endpoint,
    version: model.version,
    digest: model.digest,
    count: verdicts.length,
    input,
    secondsEach,
    shares: Object.fromEntries(qualities.map((quality) => [quality, shareOf(verdicts, quality)])),
    ...(measures.length > 0 && { measures: Object.fromEntries(measures) }),
    wrong: verdicts
      .filter(({ correct }) => Object.keys(limits).some((quality) => correct[quality] === false))
      .map(({ summary }) => summary),
    checks: checksOf(verdicts, limits),
  };
}

function measuresOf(verdicts: readonly Verdict[]) {
  return Object.keys(verdicts[0]?.measures ?? {}).map((name) => {
    const values = verdicts.map(({ measures }) => measures?.[name] ?? 0);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return [name, { mean, lowest: Math.min(...values) }] as const;
  });
}

/** @param plural the name of the results */
export function reportText(
  { model, count, secondsEach, shares, measures = {}, wrong, checks }: EvaluationReport,
  plural: string,
): string {
  const lines = [
    `${model}:`,
    ...wrong.map((summary) => `  wrong: ${summary}`),
    ...Object.entries(shares).map(([quality, share]) => `  ${quality.padEnd(12)} ${share.toFixed(3)}`),
    ...Object.entries(measures).map(
      ([name, { mean, lowest }]) => `  ${name}: mean ${mean.toFixed(3)}, lowest ${lowest.toFixed(3)}`,
    ),
    ...checks.map(({ name, limit, pass }) => `  ${name}: ${pass ? "" : "below "}${limit} or more`),
    `  ${count} ${plural}, ${secondsEach.toFixed(2)} s each`,
  ];
  return `${lines.join("\n")}\n`;
}

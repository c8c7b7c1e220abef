/** How a model is judged: what each kind of evaluation is given, and what it says. */
import type { JsonObject } from "../core/json/json.ts";
import type { ModelVersion } from "../core/models/model.ts";
import type { ClipFiles } from "./clip-files.ts";

export interface EvaluationBench {
  model: ModelVersion;
  /**
   * Entries of the model folder's `evaluation.json` that are looked at; what one holds is between it and its
   * judge.
   */
  entries: readonly JsonObject[];
  /**
   * Runs the model on the real engine, with the API's defaults for what is left out of the input; the bytes
   * of the one file it makes.
   *
   * @param files paths of what the input names as `attachment:<index>`
   */
  render(input: JsonObject, files?: readonly string[]): Promise<Buffer>;
  clips: ClipFiles;
  /** Where files may be kept; those that were made stay there when somebody asked to see them. */
  folder: string;
  /** Calls the judge for each entry, as many at once as keep the engine busy; in order. */
  each<T>(judge: (entry: JsonObject, index: number) => Promise<T>): Promise<T[]>;
}

export interface Verdict {
  /** What was asked and what was seen, for people. */
  says: string;
  /** Each quality that was looked at. */
  right: Record<string, boolean>;
  /** Measures beside them, 0..1. */
  measures?: Record<string, number>;
}

export interface Check {
  name: string;
  value: number;
  /** The least that passes. */
  limit: number;
  pass: boolean;
}

export interface Evaluation {
  /** What is made of an entry, in the plural. */
  makes: string;
  judge(bench: EvaluationBench): Promise<Verdict[]>;
  /** The share of entries that must have a quality, where it is looked at. */
  limits: Record<string, number>;
}

export const shareOf = (verdicts: readonly Verdict[], quality: string): number =>
  verdicts.filter(({ right }) => right[quality]).length / Math.max(1, verdicts.length);

export const checksOf = (verdicts: readonly Verdict[], limits: Evaluation["limits"]): Check[] =>
  Object.entries(limits)
    .filter(([quality]) => Object.hasOwn(verdicts[0]?.right ?? {}, quality))
    .map(([quality, limit]) => {
      const value = shareOf(verdicts, quality);
      return { name: `share with ${quality} right`, value, limit, pass: value >= limit };
    });

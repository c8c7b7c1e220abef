/**
 * Evaluation of the demonstration models: how often their results match the prompts. Each kind of model has
 * one evaluation (`evaluate-*.ts`), which makes results with the real engine and has them judged by pixels
 * and samples (`*-judge.ts`). `models-evaluate.ts` is the command.
 */
import type { JsonObject } from "../core/json/json.ts";
import type { ModelVersion } from "../core/models/model.ts";
import type { ClipFiles } from "./clip-files.ts";

/** The things that an evaluation works with. */
export interface EvaluationBench {
  model: ModelVersion;
  /** The entries of the model folder's `evaluation.json` to judge; each evaluation has its own fields. */
  entries: readonly JsonObject[];
  /**
   * Runs the model on the real engine, with the API's defaults for fields that the input leaves out; gives
   * the bytes of the one file it makes.
   *
   * @param files paths of the files that the input names as `attachment:<index>`
   */
  render(input: JsonObject, files?: readonly string[]): Promise<Buffer>;
  clips: ClipFiles;
  /** A folder for files; the results stay there when the command was called with `--out`. */
  folder: string;
  /** Calls the judge for each entry, as many at once as keep the engine busy; gives the verdicts in order. */
  each<T>(judge: (entry: JsonObject, index: number) => Promise<T>): Promise<T[]>;
}

/** The judgement of one entry. */
export interface Verdict {
  /** A sentence with the request and the observation, for people. */
  summary: string;
  /** The judged qualities, each correct or not. */
  correct: Record<string, boolean>;
  /** Measures beside them, 0..1. */
  measures?: Record<string, number>;
}

/** A limit of an evaluation and the share that was reached. */
export interface Check {
  name: string;
  value: number;
  /** The least share that passes. */
  limit: number;
  pass: boolean;
}

export interface Evaluation {
  /** The name of the results, in the plural. */
  plural: string;
  judge(bench: EvaluationBench): Promise<Verdict[]>;
  /** The share of entries that must have a quality correct, where it is judged. */
  limits: Record<string, number>;
}

export function shareOf(verdicts: readonly Verdict[], quality: string): number {
  return verdicts.filter(({ correct }) => correct[quality]).length / Math.max(1, verdicts.length);
}

export function checksOf(verdicts: readonly Verdict[], limits: Evaluation["limits"]): Check[] {
  return Object.entries(limits)
    .filter(([quality]) => Object.hasOwn(verdicts[0]?.correct ?? {}, quality))
    .map(([quality, limit]) => {
      const value = shareOf(verdicts, quality);
      return { name: `share with ${quality} right`, value, limit, pass: value >= limit };
    });
}

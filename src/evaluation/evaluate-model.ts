/** Evaluates one model: runs its entries on an engine of its own and collects the verdicts. */
import { statSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Semaphore } from "../core/concurrency/semaphore.ts";
import { parseJson, writeJson } from "../core/json/exact-json.ts";
import type { JsonObject } from "../core/json/json.ts";
import { EnginePool } from "../gpu-workers/worker/pool/engine-pool.ts";
import { ENGINE_PROGRAMS } from "../gpu-workers/worker/process/engine-programs.ts";
import type { ModelRoute, Registry } from "../registry/registry.ts";
import type { ClipFiles } from "./clip-files.ts";
import { audioEvaluation } from "./evaluate-audio.ts";
import { imageEvaluation } from "./evaluate-images.ts";
import { videoEvaluation } from "./evaluate-videos.ts";
import type { Evaluation, Verdict } from "./evaluation.ts";

/** Evaluations by the runner of a model. */
const EVALUATIONS: Record<string, Evaluation> = {
  "text-to-image": imageEvaluation,
  wan_video: videoEvaluation,
  video_to_audio: audioEvaluation,
};

export interface EvaluationOptions {
  /** The number of entries to judge; all when absent. */
  count?: number;
  /** Fields of the input that differ from the API's defaults. */
  input: JsonObject;
  /** A folder that keeps the results, one folder for each endpoint. */
  out?: string;
  clips: ClipFiles;
  /** Called after each entry. */
  onEntry: (done: number, entries: number) => void;
}

export interface EvaluatedModel {
  evaluation: Evaluation;
  verdicts: Verdict[];
  /** Wall time per entry. */
  secondsEach: number;
}

export async function evaluateModel(
  route: ModelRoute,
  registry: Registry,
  options: EvaluationOptions,
): Promise<EvaluatedModel> {
  const { model } = route;
  const evaluation = EVALUATIONS[model.runner];
  if (!evaluation) throw new Error(`There is no evaluation for models of the runner ${model.runner}.`);
  const entries = await readEntries(model.folder, options.count);
  const temporary = await mkdtemp(join(tmpdir(), "tempera-evaluation-"));
  const folder = options.out === undefined ? temporary : join(options.out, model.endpoint);
  await mkdir(folder, { recursive: true });
  try {
    await using pool = openPool(registry, join(temporary, "engines"));
    await pool.warm(model);
    const startedMs = performance.now();
    const verdicts = await evaluation.judge({
      model,
      entries,
      clips: options.clips,
      folder,
      render: (input, files = []) => render(pool, route, { ...input, ...options.input }, files),
      each: (judge) => judgeEach(entries, model.slots, judge, options.onEntry),
    });
    const secondsEach = (performance.now() - startedMs) / 1000 / Math.max(1, verdicts.length);
    return { evaluation, verdicts, secondsEach };
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function readEntries(folder: string, count: number | undefined): Promise<JsonObject[]> {
  const entries = parseJson(await readFile(join(folder, "evaluation.json"), "utf8")) as JsonObject[];
  return entries.slice(0, count);
}

/**
 * Judges all entries, one more at once than the engine runs, so that the engine never waits for the judge.
 */
function judgeEach<T>(
  entries: readonly JsonObject[],
  slots: number,
  judge: (entry: JsonObject, index: number) => Promise<T>,
  onEntry: EvaluationOptions["onEntry"],
): Promise<T[]> {
  const semaphore = new Semaphore(slots + 1);
  let done = 0;
  return Promise.all(
    entries.map(async (entry, index) => {
      const release = await semaphore.acquire();
      try {
        const verdict = await judge(entry, index);
        onEntry(++done, entries.length);
        return verdict;
      } finally {
        release();
      }
    }),
  );
}

function openPool(registry: Registry, folder: string): EnginePool {
  return new EnginePool({
    findModel: registry.find,
    programs: ENGINE_PROGRAMS,
    folder,
    workerName: "evaluation",
    log: (level, message) => {
      if (level === "WARN" || level === "ERROR") process.stderr.write(`${message}\n`);
    },
  });
}

/** Runs one input on the engine; gives the bytes of the file it makes. */
async function render(
  pool: EnginePool,
  { model, checkInput }: ModelRoute,
  raw: JsonObject,
  paths: readonly string[],
): Promise<Buffer> {
  const checked = checkInput(raw);
  if ("faults" in checked)
    throw new Error(`The input does not fit ${model.endpoint}: ${writeJson(checked.faults)}`);
  const files = paths.map((path) => ({
    path,
    contentType: "application/octet-stream",
    bytes: statSync(path).size,
    sha256: "",
  }));
  const run = {
    requestId: `evaluation-${String(raw.seed)}`,
    ownerId: "evaluation",
    attempt: 1,
    endpoint: model.endpoint,
    version: model.version,
    input: checked.input,
    files,
  };
  const chunks: Uint8Array[] = [];
  const events = {
    started: () => {},
    log: () => {},
    progress: () => {},
    artifact: async (_head: unknown, bytes: AsyncIterable<Uint8Array>) => {
      for await (const chunk of bytes) chunks.push(chunk);
    },
  };
  await pool.run(run, events, new AbortController().signal);
  return Buffer.concat(chunks);
}

/**
 * How often the demonstration models do what they are asked: every entry of a model folder's
 * `evaluation.json` is run on the real engine at the API's defaults, and what comes out is judged by its
 * pixels and its sound.
 */

import { existsSync, statSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import type { JsonObject } from "../core/json/json.ts";
import { createEnginePool } from "../gpu-workers/worker/pool/engine-pool.ts";
import { ENGINE_PROGRAMS } from "../gpu-workers/worker/pool/engine-programs.ts";
import { loadRegistry, type ModelRoute } from "../registry/registry.ts";
import { type ClipFiles, openClipFiles } from "./clip-files.ts";
import { checksOf, type Evaluation, shareOf, type Verdict } from "./evaluation.ts";
import { films } from "./evaluate-videos.ts";
import { pictures } from "./evaluate-images.ts";
import { sounds } from "./evaluate-audio.ts";

/** Runner → how its models are judged. */
const EVALUATIONS: Record<string, Evaluation> = {
  "text-to-image": pictures,
  wan_video: films,
  video_to_audio: sounds,
};

interface Options {
  model: string[];
  count?: string;
  input: string;
  out?: string;
  json?: boolean;
  check?: boolean;
}

const project = fileURLToPath(new URL("../..", import.meta.url));
const registry = await loadRegistry({
  modelsFolder: join(project, "models"),
  schemasFolder: join(project, "schemas"),
});

async function evaluate(options: Options): Promise<void> {
  const { model: endpoints, json, check } = options;
  const routes = endpoints.length > 0 ? endpoints.map(routeOf) : evaluated();
  await using clips = openClipFiles();
  const reports = [];
  for (const route of routes) reports.push(await report(route, clips, options));
  if (json) {
    const checks = reports.flatMap(({ model, checks }) => checks.map((one) => ({ model, ...one })));
    process.stdout.write(
      `${JSON.stringify(endpoints.length === 1 ? reports[0] : { models: reports, checks }, null, 2)}\n`,
    );
  }
  if (check && reports.some(({ checks }) => checks.some(({ pass }) => !pass))) process.exitCode = 1;
}

function routeOf(endpoint: string): ModelRoute {
  const route = registry.route(endpoint);
  if (!route?.model) throw new Error(`No model package serves ${endpoint}.`);
  return route;
}

/** The newest version of every model that brings an evaluation. */
const evaluated = (): ModelRoute[] =>
  [...new Set(registry.list().map(({ endpoint }) => endpoint))]
    .map(routeOf)
    .filter(({ model }) => existsSync(join(model.folder, "evaluation.json")));

async function report(route: ModelRoute, clips: ClipFiles, { count, input, out, json }: Options) {
  const { model } = route;
  const evaluation = EVALUATIONS[model.runner];
  if (!evaluation) throw new Error(`There is no evaluation for models of the runner ${model.runner}.`);
  const all = JSON.parse(await readFile(join(model.folder, "evaluation.json"), "utf8")) as JsonObject[];
  const entries = all.slice(0, count === undefined ? all.length : Number(count));
  const change = JSON.parse(input) as JsonObject;
  const temporary = await mkdtemp(join(tmpdir(), "tempera-evaluation-"));
  const folder = out === undefined ? temporary : join(out, model.endpoint);
  await mkdir(folder, { recursive: true });
  try {
    await using pool = createEnginePool({
      findModel: registry.find,
      programs: ENGINE_PROGRAMS,
      folder: join(temporary, "engines"),
      workerName: "evaluation",
      log: (level, message) => {
        if (level === "WARN" || level === "ERROR") process.stderr.write(`${message}\n`);
      },
    });
    await pool.warm(model);
    const startedMs = performance.now();
    let done = 0;
    const verdicts = await evaluation.judge({
      model,
      entries,
      clips,
      folder,
      render: (asked, files = []) => render(pool, route, { ...asked, ...change }, files),
      // One more in flight than run at once: the engine never waits for the judge.
      each: (judge) =>
        mapBounded(entries, model.slots + 1, async (entry, i) => {
          const verdict = await judge(entry, i);
          if (!json && process.stderr.isTTY) process.stderr.write(`\r${++done}/${entries.length}`);
          return verdict;
        }),
    });
    const secondsEach = (performance.now() - startedMs) / 1000 / Math.max(1, verdicts.length);
    const told = summary(route, evaluation, verdicts, secondsEach, change);
    if (!json) print(told, evaluation);
    return told;
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

function summary(
  { model }: ModelRoute,
  { limits }: Evaluation,
  verdicts: Verdict[],
  secondsEach: number,
  input: JsonObject,
) {
  const qualities = Object.keys(verdicts[0]?.right ?? {});
  const names = Object.keys(verdicts[0]?.measures ?? {});
  const measures = names.map((name) => {
    const values = verdicts.map(({ measures }) => measures?.[name] ?? 0);
    return [
      name,
      { mean: values.reduce((sum, value) => sum + value, 0) / values.length, lowest: Math.min(...values) },
    ] as const;
  });
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
      .filter(({ right }) => Object.keys(limits).some((quality) => right[quality] === false))
      .map(({ says }) => says),
    checks: checksOf(verdicts, limits),
  };
}

function print(
  { model, count, secondsEach, shares, measures = {}, wrong, checks }: ReturnType<typeof summary>,
  { makes }: Evaluation,
): void {
  const lines = [
    `${model}:`,
    ...wrong.map((says) => `  wrong: ${says}`),
    ...Object.entries(shares).map(([quality, share]) => `  ${quality.padEnd(12)} ${share.toFixed(3)}`),
    ...Object.entries(measures).map(
      ([name, { mean, lowest }]) => `  ${name}: mean ${mean.toFixed(3)}, lowest ${lowest.toFixed(3)}`,
    ),
    ...checks.map(({ name, limit, pass }) => `  ${name}: ${pass ? "" : "below "}${limit} or more`),
    `  ${count} ${makes}, ${secondsEach.toFixed(2)} s each`,
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}

async function render(
  pool: ReturnType<typeof createEnginePool>,
  { model, checkInput }: ModelRoute,
  asked: JsonObject,
  paths: readonly string[],
): Promise<Buffer> {
  const checked = checkInput(asked);
  if ("faults" in checked)
    throw new Error(`The input does not fit ${model.endpoint}: ${JSON.stringify(checked.faults)}`);
  const files = paths.map((path) => ({
    path,
    contentType: "application/octet-stream",
    bytes: statSync(path).size,
    sha256: "",
  }));
  const chunks: Uint8Array[] = [];
  await pool.run(
    {
      requestId: `evaluation-${String(asked.seed)}`,
      attempt: 1,
      endpoint: model.endpoint,
      version: model.version,
      input: checked.input,
      files,
    },
    {
      started: () => {},
      log: () => {},
      progress: () => {},
      artifact: async (_head, bytes) => {
        for await (const chunk of bytes) chunks.push(chunk);
      },
    },
    new AbortController().signal,
  );
  return Buffer.concat(chunks);
}

async function mapBounded<T, R>(
  items: readonly T[],
  width: number,
  work: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length);
  const queue = items.entries();
  const lane = async () => {
    for (const [index, item] of queue) results[index] = await work(item, index);
  };
  await Promise.all(Array.from({ length: width }, lane));
  return results;
}

const command = new Command("models:evaluate")
  .description("how often the demonstration models do what they are asked, judged by pixels and sound")
  .option(
    "--model <endpoint>",
    "only this model; may be repeated",
    (endpoint: string, others: string[]) => [...others, endpoint],
    [],
  )
  .option("--count <n>", "only the first n entries of each")
  .option("--input <json>", "fields that differ from the API's defaults", "{}")
  .option("--out <folder>", "keep what was made")
  .option("--json", "print a report as JSON")
  .option("--check", "exit with 1 when a model is right less often than it must be")
  .action(evaluate);

try {
  await command.parseAsync();
} catch (error) {
  process.stderr.write(`models:evaluate: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

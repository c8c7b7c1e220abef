/**
 * `npm run models:evaluate`: runs every entry of a model folder's `evaluation.json` on the real engine at the
 * API's defaults, and judges the results by their pixels and their audio.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { parseJson, writeJson } from "../core/json/exact-json.ts";
import type { JsonObject } from "../core/json/json.ts";
import { loadRegistry, type ModelRoute, type Registry } from "../registry/registry.ts";
import { openClipFiles } from "./clip-files.ts";
import { evaluateModel } from "./evaluate-model.ts";
import { createReport, type EvaluationReport, reportText } from "./evaluation-report.ts";

interface Options {
  model: string[];
  count?: string;
  input: string;
  out?: string;
  json?: boolean;
  check?: boolean;
}

const PROJECT = fileURLToPath(new URL("../..", import.meta.url));

async function evaluate(options: Options): Promise<void> {
  const { model: endpoints, json, check } = options;
  const registry = await loadRegistry({
    modelsFolder: join(PROJECT, "models"),
    schemasFolder: join(PROJECT, "schemas"),
  });
  const routes =
    endpoints.length > 0 ? endpoints.map((endpoint) => findRoute(registry, endpoint)) : evaluable(registry);
  const reports = await evaluateAll(routes, registry, options);
  if (json) process.stdout.write(`${writeJson(combine(reports, endpoints.length), 2)}\n`);
  const failed = reports.some(({ checks }) => checks.some(({ pass }) => !pass));
  if (check && failed) process.exitCode = 1;
}

function findRoute(registry: Registry, endpoint: string): ModelRoute {
  const route = registry.route(endpoint);
  if (!route?.model) throw new Error(`No model package serves ${endpoint}.`);
  return route;
}

/** Finds the newest version of every model that has an evaluation. */
function evaluable(registry: Registry): ModelRoute[] {
  return [...new Set(registry.list().map(({ endpoint }) => endpoint))]
    .map((endpoint) => findRoute(registry, endpoint))
    .filter(({ model }) => existsSync(join(model.folder, "evaluation.json")));
}

async function evaluateAll(
  routes: readonly ModelRoute[],
  registry: Registry,
  { count, input: inputJson, out, json }: Options,
): Promise<EvaluationReport[]> {
  const input = parseJson(inputJson) as JsonObject;
  await using clips = openClipFiles();
  const reports: EvaluationReport[] = [];
  for (const route of routes) {
    const evaluated = await evaluateModel(route, registry, {
      ...(count !== undefined && { count: Number(count) }),
      ...(out !== undefined && { out }),
      input,
      clips,
      onEntry: (done, entries) => {
        if (!json && process.stderr.isTTY) process.stderr.write(`\r${done}/${entries}`);
      },
    });
    const report = createReport(route.model, evaluated, input);
    if (!json) process.stdout.write(reportText(report, evaluated.evaluation.plural));
    reports.push(report);
  }
  return reports;
}

/** One requested model gives its report alone; else there is one object with all reports and all checks. */
function combine(reports: EvaluationReport[], requested: number) {
  if (requested === 1) return reports[0];
  const checks = reports.flatMap(({ model, checks }) => checks.map((check) => ({ model, ...check })));
  return { models: reports, checks };
}

const command = new Command("models:evaluate")
  .description("evaluate how often the demonstration models follow their prompts, by pixels and audio")
  .option(
    "--model <endpoint>",
    "evaluate only this model; may be repeated",
    (endpoint: string, others: string[]) => [...others, endpoint],
    [],
  )
  .option("--count <n>", "evaluate only the first n entries of each model")
  .option("--input <json>", "fields of the input that differ from the API's defaults", "{}")
  .option("--out <folder>", "keep the results in this folder")
  .option("--json", "print a report as JSON")
  .option("--check", "exit with 1 when a model is correct less often than its limit")
  .action(evaluate);

try {
  await command.parseAsync();
} catch (error) {
  process.stderr.write(`models:evaluate: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

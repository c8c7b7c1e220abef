/**
 * How often a picture model does what its prompt says: every prompt of the model folder's `evaluation.json` is rendered on the
 * real engine at the API's defaults and judged by its pixels.
 */
import { mkdir, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import sharp from "sharp";
import type { Engines } from "../core/engine.ts";
import type { JsonObject } from "../core/json.ts";
import { createEnginePool } from "../gpu-workers/engine-pool.ts";
import { ENGINE_PROGRAMS } from "../gpu-workers/engine-programs.ts";
import { IMAGE_SIZE_PRESETS, nativeSizeFor, type PictureSize } from "../gpu-workers/onnx-engine/picture-size.ts";
import { loadRegistry, type Route } from "../registry/registry.ts";
import { type Judgement, judgeScene } from "./scene-judge.ts";

interface EvaluationPrompt {
  prompt: string;
  seed: number;
  background: string;
  color: string;
  shape: string;
}

interface Verdict extends EvaluationPrompt {
  seen: Judgement;
  right: { background: boolean; color: boolean; shape: boolean; all: boolean };
}

const QUALITIES = ["background", "color", "shape", "all"] as const;
const SHARE_MIN = 0.9;

interface Options {
  model: string;
  count?: string;
  input: string;
  out?: string;
  json?: boolean;
  check?: boolean;
}

const project = fileURLToPath(new URL("../..", import.meta.url));

async function evaluate({ model: endpoint, count, input, out, json, check }: Options): Promise<void> {
  const registry = await loadRegistry({ modelsFolder: join(project, "models"), schemasFolder: join(project, "schemas") });
  const route = registry.route(endpoint);
  if (!route) throw new Error(`No model package serves ${endpoint}.`);
  const { model } = route;
  const all = JSON.parse(await readFile(join(model.folder, "evaluation.json"), "utf8")) as EvaluationPrompt[];
  const prompts = all.slice(0, count === undefined ? all.length : Number(count));
  const change = JSON.parse(input) as JsonObject;
  if (out !== undefined) await mkdir(out, { recursive: true });

  await using pool = createEnginePool({
    findModel: registry.find,
    programs: ENGINE_PROGRAMS,
    folder: await mkdtemp(join(tmpdir(), "tempera-")),
    workerName: "evaluation",
    log: (level, message) => {
      if (level === "WARN" || level === "ERROR") process.stderr.write(`${message}\n`);
    },
  });
  await pool.warm(model);
  const startedMs = performance.now();
  // One more in flight than run at once: the engine never waits for the judge.
  const verdicts = await mapBounded(prompts, model.slots + 1, async (prompt, i) => {
    const png = await render(pool, route, prompt, change);
    if (out !== undefined) await writeFile(join(out, `${i}.png`), png);
    if (!json && process.stderr.isTTY) process.stderr.write(`\r${i + 1}/${prompts.length}`);
    return judge(prompt, png);
  });
  const secondsPerPicture = (performance.now() - startedMs) / 1000 / verdicts.length;

  const share = (quality: (typeof QUALITIES)[number]) => verdicts.filter(({ right }) => right[quality]).length / verdicts.length;
  const shares = Object.fromEntries(QUALITIES.map((quality) => [quality, share(quality)]));
  const wrong = verdicts.filter(({ right }) => !right.all).map(({ right: _, ...rest }) => rest);
  const checks = [
    {
      name: "share of prompts with background, color and shape all right",
      value: share("all"),
      limit: SHARE_MIN,
      pass: share("all") >= SHARE_MIN,
    },
  ];
  if (json) {
    const report = {
      model: model.endpoint,
      version: model.version,
      digest: model.digest,
      count: verdicts.length,
      input: change,
      secondsPerPicture,
      shares,
      wrong,
      checks,
    };
    process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  } else {
    for (const { prompt, background, color, shape, seen } of wrong) {
      process.stdout.write(
        `wrong: "${prompt}": ${color} ${shape} on ${background}, saw ${seen.color ?? "nothing"} ${seen.shape ?? "?"} on ${seen.background}\n`,
      );
    }
    for (const quality of QUALITIES) process.stdout.write(`${quality.padEnd(10)} ${share(quality).toFixed(3)}\n`);
    process.stdout.write(
      `${verdicts.length} pictures, ${secondsPerPicture.toFixed(2)} s each; all right: ${checks[0]?.pass ? "" : "below "}${SHARE_MIN} or more\n`,
    );
  }
  if (check && checks.some(({ pass }) => !pass)) process.exitCode = 1;
}

/** One picture at the API's defaults, but for the size: the native one of the default size, since scaling changes nothing that is judged. */
async function render(
  engines: Engines,
  { model, checkInput }: Route,
  { prompt, seed }: EvaluationPrompt,
  change: JsonObject,
): Promise<Buffer> {
  const native = model.parameters.nativeSizes as unknown as [PictureSize, ...PictureSize[]];
  const size = nativeSizeFor(IMAGE_SIZE_PRESETS.landscape_4_3 as PictureSize, native);
  const checked = checkInput({ prompt, seed, image_size: { ...size }, output_format: "png", ...change });
  if ("faults" in checked) throw new Error(`The input does not fit ${model.endpoint}: ${JSON.stringify(checked.faults)}`);
  const chunks: Uint8Array[] = [];
  await engines.run(
    { requestId: `evaluation-${seed}`, attempt: 1, endpoint: model.endpoint, version: model.version, input: checked.input },
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

async function judge(prompt: EvaluationPrompt, png: Buffer): Promise<Verdict> {
  const { data, info } = await sharp(png).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  const seen = judgeScene({ data, width: info.width, height: info.height });
  const background = seen.background === prompt.background;
  const color = seen.color === prompt.color;
  const shape = seen.shape === prompt.shape;
  return { ...prompt, seen, right: { background, color, shape, all: background && color && shape } };
}

async function mapBounded<T, R>(items: T[], width: number, work: (item: T, index: number) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(items.length);
  const queue = items.entries();
  const lane = async () => {
    for (const [index, item] of queue) results[index] = await work(item, index);
  };
  await Promise.all(Array.from({ length: width }, lane));
  return results;
}

const command = new Command("models:evaluate")
  .description("the share of held-out prompts whose background, colour and shape are right, judged by pixels")
  .option("--model <endpoint>", "which model", "fal-ai/qwen-image")
  .option("--count <n>", "only the first n prompts")
  .option("--input <json>", "fields that differ from the API's defaults", "{}")
  .option("--out <folder>", "keep the pictures")
  .option("--json", "print a report as JSON")
  .option("--check", `exit with 1 when less than ${SHARE_MIN} are all right`)
  .action(evaluate);

try {
  await command.parseAsync();
} catch (error) {
  process.stderr.write(`models:evaluate: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

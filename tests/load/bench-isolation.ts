/**
 * `npm run bench:isolation`: the cost of isolating engines. Cold starts and images of an isolated engine and
 * of one that is not alternate on one machine: differences within one run are comparable, absolute times are
 * not.
 */
import { mkdtempSync } from "node:fs";
import { join, resolve } from "node:path";
import type { ModelVersion } from "../../src/core/models/model.ts";
import { type Cage, openCage } from "../../src/gpu-workers/worker/cage/cage.ts";
import { describeIsolation } from "../../src/gpu-workers/worker/cage/probe-layers.ts";
import { type EngineProcess, startEngine } from "../../src/gpu-workers/worker/process/engine-process.ts";
import { ENGINE_PROGRAMS, type EngineProgram } from "../../src/gpu-workers/worker/process/engine-programs.ts";
import { loadRegistry } from "../../src/registry/registry.ts";
import { type Bench, percentile, round, runBench, say } from "./harness.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const INPUT = {
  prompt: "a large red circle on a blue background",
  negative_prompt: " ",
  image_size: { width: 256, height: 256 },
  num_inference_steps: 20,
  guidance_scale: 2.5,
  num_images: 1,
  seed: 7,
  use_turbo: false,
  enable_safety_checker: false,
  output_format: "png",
};

type Side = "off" | "isolated";

const start = ({ folder }: Bench, model: ModelVersion, cage: Cage | undefined): Promise<EngineProcess> =>
  startEngine({
    model,
    program: ENGINE_PROGRAMS.onnx as EngineProgram,
    socket: join(mkdtempSync(join(folder, "e-")), "s"),
    workerName: "bench",
    cage,
    log: () => {},
    signal: new AbortController().signal,
  });

async function makeImage(engine: EngineProcess, { endpoint, version }: ModelVersion): Promise<void> {
  await engine.run(
    { requestId: "bench", ownerId: "bench", attempt: 1, endpoint, version, input: INPUT },
    {
      started: () => {},
      log: () => {},
      progress: () => {},
      artifact: async (_, chunks) => {
        for await (const _chunk of chunks);
      },
    },
    new AbortController().signal,
  );
}

const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const sinceMs = performance.now();
  await work();
  return performance.now() - sinceMs;
};

const spread = (values: number[]) => ({
  p50: round(percentile(values, 50)),
  min: round(Math.min(...values)),
  max: round(Math.max(...values)),
});

const SIDES: readonly Side[] = ["off", "isolated"];
const IMAGES = 6;

/** Starts an engine of each side, and makes images on them in turn; adds the times to both records. */
async function measureRound(
  bench: Bench,
  model: ModelVersion,
  cages: Record<Side, Cage | undefined>,
  order: readonly Side[],
  { cold, images }: { cold: Record<Side, number[]>; images: Record<Side, number[]> },
): Promise<void> {
  const engines = new Map<Side, EngineProcess>();
  for (const side of order)
    cold[side].push(
      await timed(async () => {
        engines.set(side, await start(bench, model, cages[side]));
      }),
    );
  const makeOne = (side: Side) => makeImage(engines.get(side) as EngineProcess, model);
  for (const side of order) await makeOne(side); // The first has to reserve its memory.
  for (let i = 0; i < IMAGES; i++)
    for (const side of i % 2 === 0 ? order : order.toReversed())
      images[side].push(await timed(() => makeOne(side)));
  await Promise.all([...engines.values()].map((engine) => engine.stop()));
}

await runBench("bench:isolation", "engines with and without isolation", async (bench) => {
  const { atMost, rounds, quick } = bench;
  const registry = await loadRegistry({
    modelsFolder: join(PROJECT, "models"),
    schemasFolder: join(PROJECT, "schemas"),
  });
  const found = registry.route("fal-ai/qwen-image")?.model as ModelVersion;
  // One image in a pass: the engine has nothing to time beside the images.
  const model = { ...found, parameters: { ...found.parameters, batchMax: 1 } };
  const cage = await openCage("best-effort");
  if (cage) say(describeIsolation(cage));
  const cages: Record<Side, Cage | undefined> = { off: undefined, isolated: cage };
  const times = () => ({ cold: { off: [], isolated: [] }, images: { off: [], isolated: [] } });
  await measureRound(bench, model, cages, SIDES, times()); // The first reads the files from disk.
  const measured: Parameters<typeof measureRound>[4] = times();
  for (let i = 0; i < (quick ? 1 : 2 * rounds); i++) {
    await measureRound(bench, model, cages, i % 2 === 0 ? SIDES : SIDES.toReversed(), measured);
    say(`round ${i + 1}`);
  }
  const { cold, images } = measured;
  // The least of each side: whatever else the machine does only adds to it.
  const least = (values: number[]) => Math.min(...values);
  atMost("cold start: isolated - off, ms", least(cold.isolated) - least(cold.off), 150);
  atMost("time of an image: isolated / off", least(images.isolated) / least(images.off), 1.03);

  bench.report({
    cold_start_ms: { off: spread(cold.off), isolated: spread(cold.isolated) },
    image_ms: { off: spread(images.off), isolated: spread(images.isolated) },
  });
});

/**
 * `npm run bench:engine`: the cost that the engine and the platform add to a bare loop of `session.run`, on
 * the same network files with the same threads. The sides alternate on one machine: ratios within one run are
 * comparable, absolute times are not.
 */
import { type ChildProcess, fork, spawn } from "node:child_process";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Agent, request } from "undici";
import { createPlatformClient, type PlatformClient } from "../../src/cli/platform-client.ts";
import type { JsonObject } from "../../src/core/json/json.ts";
import type { ModelVersion } from "../../src/core/models/model.ts";
import { type EngineProcess, startEngine } from "../../src/gpu-workers/worker/process/engine-process.ts";
import { ENGINE_PROGRAMS, type EngineProgram } from "../../src/gpu-workers/worker/process/engine-programs.ts";
import { loadRegistry } from "../../src/registry/registry.ts";
import { type Bench, percentile, round, runBench, say } from "./harness.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const QWEN = "fal-ai/qwen-image";
const BARE = join(import.meta.dirname, "bare-onnx.mjs");
const IN_FLIGHT = [1, 2, 4, 8, 16] as const;
const STEPS = 20;
/**
 * Steps between two checkpoints, as progress counts them: six of each of four images. One image has fewer, so
 * that the rates are those without checkpoints.
 */
const CHECKPOINT_STEPS = 24;

const imageInput = (change: JsonObject = {}): JsonObject => ({
  prompt: "a large red circle on a blue background",
  negative_prompt: " ",
  image_size: { width: 256, height: 256 },
  num_inference_steps: STEPS,
  guidance_scale: 2.5,
  num_images: 1,
  seed: 7,
  use_turbo: false,
  enable_safety_checker: false,
  output_format: "png",
  ...change,
});

/** Makes `count` images, `inFlight` at once; resolves with the images per second. */
type Side = (count: number, inFlight: number) => Promise<number>;

/**
 * Makes `count` calls of `makeOne`, `inFlight` at once. The first and the last calls, while fewer are in
 * flight, are not counted.
 */
const callsOf =
  (makeOne: () => Promise<unknown>): Side =>
  async (count, inFlight) => {
    let left = count;
    const endsMs: number[] = [];
    await Promise.all(
      Array.from({ length: inFlight }, async () => {
        while (left-- > 0) {
          await makeOne();
          endsMs.push(performance.now());
        }
      }),
    );
    // From the end of the first `inFlight` calls to the end of the last but one lot: calls that started
    // together may end together.
    return (
      (1000 * (count - 2 * inFlight)) / ((endsMs[count - inFlight - 1] ?? 0) - (endsMs[inFlight - 1] ?? 0))
    );
  };

function startBare({ closing }: Bench, model: ModelVersion, threads: number): Promise<Side> {
  const child = fork(BARE, [model.folder, String(threads)], { execArgv: ["--initial-heap-size=64"] });
  closing.defer(() => void child.kill("SIGKILL"));
  const reply = <T>() => new Promise<T>((done) => child.once("message", (message) => done(message as T)));
  const { latentChannels, pixelsPerLatent, textTokensMax } = model.parameters as Record<string, number>;
  const side = 256 / Number(pixelsPerLatent);
  return reply().then(() => async (count, batch) => {
    child.send({
      count,
      batch,
      steps: STEPS,
      tokens: textTokensMax,
      channels: latentChannels,
      height: side,
      width: side,
    });
    return count / (await reply<{ seconds: number }>()).seconds;
  });
}

let sockets = 0;
const openEngine = (
  { folder, closing }: Bench,
  model: ModelVersion,
  profiled = () => {},
): Promise<EngineProcess> =>
  startEngine({
    model,
    program: ENGINE_PROGRAMS.onnx as EngineProgram,
    socket: join(folder, `${sockets++}.sock`),
    workerName: "bench",
    log: (_, message) => {
      if (!message.startsWith("Up to")) return;
      say(message);
      profiled();
    },
    signal: new AbortController().signal,
  }).then((engine) => {
    closing.defer(() => engine.stop());
    return engine;
  });

/** Makes one image on an engine; resolves with the time of its first step. */
async function makeImage(engine: EngineProcess, model: ModelVersion, input = imageInput()): Promise<number> {
  let firstStepMs = 0;
  await engine.run(
    {
      requestId: "bench",
      ownerId: "bench",
      attempt: 1,
      endpoint: model.endpoint,
      version: model.version,
      input,
    },
    {
      started: () => {},
      log: () => {},
      progress: () => {
        firstStepMs ||= performance.now();
      },
      artifact: async (_, chunks) => {
        for await (const _chunk of chunks);
      },
    },
    new AbortController().signal,
  );
  return firstStepMs;
}

const ended = (child: ChildProcess) => new Promise((done) => child.once("exit", done));

/** Compares a fresh process until its sessions are open with a fresh engine until its first step. */
async function measureColdStart(bench: Bench, model: ModelVersion, threads: number, rounds: number) {
  const [bareMs, engineMs]: [number[], number[]] = [[], []];
  for (let i = 0; i <= rounds; i++) {
    let sinceMs = performance.now();
    await ended(spawn(process.execPath, [BARE, model.folder, String(threads), "once"], { stdio: "ignore" }));
    bareMs.push(performance.now() - sinceMs);
    sinceMs = performance.now();
    const engine = await openEngine(bench, model);
    engineMs.push((await makeImage(engine, model, imageInput({ num_inference_steps: 1 }))) - sinceMs);
    await engine.stop();
    if (i === 0) bareMs.length = engineMs.length = 0; // The first reads the files from disk.
  }
  bench.atMost(
    "cold start, engine spawned to first step / bare sessions in a fresh process",
    percentile(engineMs, 50) / percentile(bareMs, 50),
    1.3,
  );
  return { bare_ms: spread(bareMs), engine_ms: spread(engineMs) };
}

const spread = (values: number[]) => ({
  p50: round(percentile(values, 50)),
  min: round(Math.min(...values)),
  max: round(Math.max(...values)),
  ...(values.length >= 50 && { p99: round(percentile(values, 99)) }),
});

/** Copies the model packages, with checkpoints every few steps for images. */
function modelsWithCheckpoints({ folder }: Bench): string {
  const copy = join(folder, "models");
  cpSync(join(PROJECT, "models"), copy, { recursive: true });
  const manifest = join(copy, QWEN, "1.0.0", "model.yaml");
  const text = readFileSync(manifest, "utf8").replace(
    /^checkpoint:.*$/m,
    `checkpoint: { everySteps: ${CHECKPOINT_STEPS}, everySeconds: 0 }`,
  );
  writeFileSync(manifest, text);
  return copy;
}

await runBench("bench:engine", "images from a bare loop, the engine and the platform", async (bench) => {
  const { closing, key, atMost, atLeast, rounds, scale, quick } = bench;
  const modelsFolder = modelsWithCheckpoints(bench);
  const registry = await loadRegistry({ modelsFolder, schemasFolder: join(PROJECT, "schemas") });
  const model = registry.route(QWEN)?.model as ModelVersion;
  const threads = Number(model.parameters.threads);

  say("cold starts …");
  const cold = await measureColdStart(bench, model, threads, quick ? 2 : 5);

  // Each engine profiles its passes when it is idle: one engine after the other, so that neither is slowed.
  let profiled = () => {};
  const profile = new Promise<void>((resolve) => {
    profiled = resolve;
  });
  const engine = await openEngine(bench, model, profiled);
  await profile;
  const { url } = await bench.startPlatform({ TEMPERA_WORKER_MODELS: QWEN, TEMPERA_MODELS: modelsFolder });
  await sleep(3000);
  const agent = new Agent({ connections: 64, pipelining: 1 });
  closing.defer(() => agent.close());
  const headers = { authorization: `Key ${key}`, "content-type": "application/json" };
  const call = async (path: string, input: JsonObject) => {
    const response = await request(`${url}${path}`, {
      method: "POST",
      headers,
      body: JSON.stringify(input),
      dispatcher: agent,
    });
    if (response.statusCode !== 200)
      throw new Error(`${path}: ${response.statusCode} ${await response.body.text()}`);
    return response.body;
  };

  const sides: Record<"bare" | "engine" | "platform", Side> = {
    bare: await startBare(bench, model, threads),
    engine: callsOf(() => makeImage(engine, model)),
    platform: callsOf(async () => (await call(`/${QWEN}`, imageInput())).dump()),
  };
  const names = Object.keys(sides) as (keyof typeof sides)[];

  say("warming up …");
  for (const name of names) for (const inFlight of [8, 1]) await sides[name](8, inFlight);

  const rates = (): Record<(typeof IN_FLIGHT)[number], number[]> => ({ 1: [], 2: [], 4: [], 8: [], 16: [] });
  const perSecond = { bare: rates(), engine: rates(), platform: rates() };
  for (let i = 0; i < rounds; i++) {
    for (const inFlight of IN_FLIGHT) {
      const count = Math.max(3, Math.ceil((Math.max(12, 6 * inFlight) * scale) / inFlight)) * inFlight;
      for (const name of i % 2 === 0 ? names : [...names].reverse()) {
        await sides[name](inFlight, inFlight); // a side that was idle begins slowly
        perSecond[name][inFlight].push(await sides[name](count, inFlight));
      }
    }
    say(`round ${i + 1} of ${rounds}`);
  }
  type InFlight = (typeof IN_FLIGHT)[number];
  const rate = (name: keyof typeof sides, inFlight: InFlight) => percentile(perSecond[name][inFlight], 50);
  /** Gives the median of the rounds' ratios, since the machine's speed differs between rounds. */
  const ratio = (
    name: keyof typeof sides,
    inFlight: InFlight,
    of: keyof typeof sides,
    ofInFlight: InFlight,
  ) =>
    percentile(
      perSecond[name][inFlight].map((rate, i) => rate / (perSecond[of][ofInFlight][i] ?? 0)),
      50,
    );
  for (const name of names)
    say(`${name}: ${IN_FLIGHT.map((n) => `${n}: ${round(rate(name, n))}/s`).join("  ")}`);
  const bestBatch = IN_FLIGHT.reduce((best, batch) =>
    rate("bare", batch) > rate("bare", best) ? batch : best,
  );
  atLeast("engine / bare loop, images per second, 1 in flight", ratio("engine", 1, "bare", 1), 0.95);
  atLeast("engine, 8 in flight / bare loop, best fixed batch", ratio("engine", 8, "bare", bestBatch), 0.95);
  atLeast("platform / engine, 8 in flight", ratio("platform", 8, "engine", 8), 0.9);

  say("warm starts …");
  const warm: number[] = [];
  for (let i = 0; i < (quick ? 30 : 100); i++) {
    const sinceMs = performance.now();
    const body = await call(
      `/${QWEN}/stream`,
      imageInput({ num_inference_steps: 2, prompt: `a small green heart, ${i}` }),
    );
    let text = "";
    for await (const chunk of body) {
      if (!text.includes('"progress"') && `${text}${chunk}`.includes('"progress"'))
        warm.push(performance.now() - sinceMs);
      text += chunk;
    }
  }
  atMost("warm start, request sent to first step seen by the caller p99, ms", percentile(warm, 99), 120);

  say("kill -9 …");
  const resume = await measureResume(bench, createPlatformClient({ url, adminUrl: url, key }));
  for (const { at, lostMs, allowedMs } of resume)
    atMost(`kill -9 at step ${at} of 30: time lost, ms`, lostMs, allowedMs);

  bench.report({
    images_per_second: Object.fromEntries(
      names.map((name) => [name, Object.fromEntries(IN_FLIGHT.map((n) => [n, spread(perSecond[name][n])]))]),
    ),
    cold_start: cold,
    warm_start_ms: spread(warm),
    resume,
  });
});

/**
 * Runs jobs of four images of 30 steps, kills the engine at some step, and compares the time with an
 * undisturbed job.
 */
async function measureResume(bench: Bench, client: PlatformClient) {
  const input = imageInput({ num_inference_steps: 30, num_images: 4 });
  const total = 30 * 4;
  const once = async (killAt = 0): Promise<number> => {
    const sinceMs = performance.now();
    const { request_id: id } = await client.submit(QWEN, input);
    let killed = killAt === 0;
    for await (const { error, progress } of client.follow(QWEN, id)) {
      if (error) throw new Error(`the job failed: ${error}`);
      if (killed || (progress?.step ?? 0) < killAt * 4) continue;
      killed = true;
      for (const pid of engineChildren(bench.processes["gpu-worker"] ?? 0)) process.kill(pid, "SIGKILL");
    }
    return performance.now() - sinceMs;
  };
  const wholeMs = percentile([await once(), await once(), await once()], 50);
  const found: { at: number; whole_ms: number; lostMs: number; allowedMs: number }[] = [];
  for (const at of [8, 18, 27]) {
    const lostMs = (await once(at)) - wholeMs;
    // These steps may be repeated: those since the last checkpoint, and one checkpoint that was being sent.
    const allowedMs = 2000 + ((CHECKPOINT_STEPS + 4) * wholeMs) / total;
    found.push({ at, whole_ms: round(wholeMs), lostMs: round(lostMs), allowedMs: round(allowedMs) });
  }
  return found;
}

/** Finds the engine programs below a process: isolated ones are not its children themselves. */
function engineChildren(parent: number): number[] {
  const children = readFileSync(`/proc/${parent}/task/${parent}/children`, "utf8").match(/\d+/g) ?? [];
  return children.map(Number).flatMap((pid) => {
    const isEngine = /\/engines\/\w+\/main\./.test(readFileSync(`/proc/${pid}/cmdline`, "utf8"));
    return isEngine ? [pid] : engineChildren(pid);
  });
}

/**
 * `npm run bench:diffusers`: the Python engine behind the platform beside a bare loop of diffusers, on a CPU,
 * with random weights in a tiny pipeline of Qwen-Image's classes. Both sides alternate on one machine:
 * differences within one run are comparable, absolute times are not.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { request } from "undici";
import { pythonEnv } from "../../src/dev/services/python-env.ts";
import { type Bench, percentile, round, runBench, say } from "./harness.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const ENGINE = join(PROJECT, "engines/python");
const ENDPOINT = "fal-ai/qwen-image";
const CHECKPOINT_STEPS = 5;

/** A step takes long enough that the engine's own work for it is as small a part as on a GPU. */
const INPUT = {
  prompt: "a large red circle on a blue background",
  negative_prompt: "blurry",
  image_size: { width: 512, height: 512 },
  num_inference_steps: 20,
  guidance_scale: 2.5,
  seed: 7,
  enable_safety_checker: false,
};

const MANIFEST = `endpoint: ${ENDPOINT}
version: 1.0.0
title: Random weights
description: A tiny pipeline of Qwen-Image's classes.
category: text-to-image
runner: text-to-image
engine: diffusers
slots: 1
memoryMiB: 2000
retry: { attemptsMax: 5, initialMs: 200, backoff: 2, maximumMs: 20000 }
timeouts: { heartbeatMs: 10000, runMs: 600000, loadMs: 120000 }
checkpoint: { everySteps: ${CHECKPOINT_STEPS} }
parameters: { device: cpu, threads: 1 }
`;

/** Writes the model's package, its schemas, and two LoRA weights for it. */
function prepare(folder: string, python: string): { weights: string; models: string; schemas: string } {
  const models = join(folder, "models");
  const schemas = join(folder, "schemas");
  const model = join(models, ENDPOINT, "1.0.0");
  mkdirSync(model, { recursive: true });
  const weights = join(model, "pipeline");
  execFileSync(python, [join(ENGINE, "tests/tiny_pipelines.py"), "text-to-image", weights]);
  cpSync(weights, model, { recursive: true });
  writeFileSync(join(model, "model.yaml"), MANIFEST);
  cpSync(join(PROJECT, "schemas"), schemas, {
    recursive: true,
    filter: (path) => !path.includes("/models/"),
  });
  const path = join("models", ENDPOINT, "1.0.0");
  cpSync(join(PROJECT, "schemas", path), join(schemas, path), { recursive: true });
  const loras = `
import torch
from safetensors.torch import save_file
for name in ("a", "b"):
    layer = "transformer.transformer_blocks.0.attn.to_q"
    save_file({f"{layer}.lora_A.weight": torch.randn(4, 32), f"{layer}.lora_B.weight": torch.randn(32, 4)},
              f"${folder}/{name}.safetensors")
`;
  execFileSync(python, ["-c", loras]);
  return { weights, models, schemas };
}

/** Starts the bare loop. Gives a function that resolves with the milliseconds of one input. */
async function startBare(bench: Bench, python: string, weights: string) {
  const child = spawn(python, [join(import.meta.dirname, "bare-diffusers.py"), weights], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  bench.closing.defer(() => void child.kill());
  const lines = createInterface({ input: child.stdout });
  const next = async () => JSON.parse((await once(lines, "line"))[0]) as { seconds: number };
  await next();
  return async (input: object): Promise<number> => {
    const answer = next();
    child.stdin.write(`${JSON.stringify(input)}\n`);
    return (await answer).seconds * 1000;
  };
}

interface Calls {
  /** Resolves with the milliseconds of one request, from the call to its result. */
  run(input: object): Promise<number>;
  submit(input: object): Promise<string>;
  /** Yields the step of each progress event of a request. */
  steps(id: string): AsyncGenerator<number>;
}

function callsOf(url: string, key: string): Calls {
  const headers = { authorization: `Key ${key}`, "content-type": "application/json" };
  const post = async (path: string, input: object) => {
    const body = JSON.stringify(input);
    const answer = await request(`${url}${path}`, { method: "POST", headers, body, headersTimeout: 0 });
    const text = await answer.body.text();
    if (answer.statusCode !== 200) throw new Error(`${path} answers ${answer.statusCode}: ${text}`);
    return JSON.parse(text) as { request_id: string };
  };
  return {
    async run(input) {
      const sinceMs = performance.now();
      await post(`/${ENDPOINT}`, input);
      return performance.now() - sinceMs;
    },
    submit: async (input) => (await post(`/queue/${ENDPOINT}`, input)).request_id,
    async *steps(id) {
      const path = `/queue/${ENDPOINT}/requests/${id}/status/stream`;
      const { body } = await request(`${url}${path}`, { headers, bodyTimeout: 0 });
      let text = "";
      for await (const chunk of body) {
        text += chunk;
        for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
          const step = /"progress":\{"step":(\d+)/.exec(text.slice(0, end))?.[1];
          text = text.slice(end + 2);
          if (step !== undefined) yield Number(step);
        }
      }
    },
  };
}

/** Kills the engine of a GPU worker: the Python process among its descendants. */
function killEngine(worker: number): void {
  const rows = execFileSync("ps", ["-eo", "pid=,ppid=,args="], { encoding: "utf8" })
    .split("\n")
    .map((row) => /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(row) ?? [])
    .map(([, pid, parent, args = ""]) => ({ pid: Number(pid), parent: Number(parent), args }));
  const below = (pid: number): typeof rows =>
    rows.filter(({ parent }) => parent === pid).flatMap((row) => [row, ...below(row.pid)]);
  const engines = below(worker).filter(({ args }) => args.includes("tempera_diffusers"));
  const engine = engines.at(-1);
  if (!engine) throw new Error("The GPU worker has no engine.");
  process.kill(engine.pid, "SIGKILL");
}

/** Kills the engine in the middle of a run. Returns the steps that were computed twice. */
async function lostSteps(bench: Bench, calls: Calls): Promise<number> {
  let newest = 0;
  let lost: number | undefined;
  let isKilled = false;
  for await (const step of calls.steps(await calls.submit(INPUT))) {
    if (isKilled && step <= newest) lost ??= newest - step + 1;
    newest = Math.max(newest, step);
    if (step >= 2 * CHECKPOINT_STEPS + 2 && !isKilled) {
      isKilled = true;
      killEngine(bench.processes["gpu-worker"] as number);
    }
  }
  if (!isKilled || newest !== INPUT.num_inference_steps) throw new Error(`The run ended at step ${newest}.`);
  return lost ?? 0;
}

const spread = (values: number[]) => ({
  p50: round(percentile(values, 50)),
  min: round(Math.min(...values)),
  max: round(Math.max(...values)),
});

await runBench("bench:diffusers", "the Python engine beside a bare loop of diffusers", async (bench) => {
  const python = await pythonEnv(join(ENGINE, "requirements.txt"), { log: say });
  const { weights, models, schemas } = prepare(bench.folder, python);
  const { url } = await bench.startPlatform({
    TEMPERA_PYTHON: python,
    TEMPERA_MODELS: models,
    TEMPERA_SCHEMAS: schemas,
    TEMPERA_WORKER_MODELS: ENDPOINT,
    TEMPERA_WORKER_MEMORY_MIB: "4000",
  });
  const calls = callsOf(url, bench.key);
  const bare = await startBare(bench, python, weights);
  const lora = (name: string) => {
    const data = readFileSync(join(bench.folder, `${name}.safetensors`)).toString("base64");
    return { ...INPUT, num_inference_steps: 2, loras: [{ path: `data:;base64,${data}` }] };
  };
  const [a, b] = [lora("a"), lora("b")];
  for (const input of [INPUT, a, b]) await calls.run(input); // The first of each loads something.
  await bare(INPUT);

  const times = {
    tempera: [] as number[],
    bare: [] as number[],
    same: [] as number[],
    other: [] as number[],
  };
  const count = bench.quick ? 1 : 2 * bench.rounds;
  for (let i = 0; i < count; i++) {
    times.bare.push(await bare({ ...INPUT, seed: i }));
    times.tempera.push(await calls.run({ ...INPUT, seed: i }));
    await calls.run(a);
    times.same.push(await calls.run(a));
    times.other.push(await calls.run(b));
    say(`round ${i + 1}`);
  }
  const lost: number[] = [];
  for (let i = 0; i < (bench.quick ? 1 : 3); i++) lost.push(await lostSteps(bench, calls));

  const p50 = (values: number[]) => percentile(values, 50);
  bench.atMost("request / bare loop, p50", p50(times.tempera) / p50(times.bare), 1.05);
  bench.atMost("another adapter - the same one, p50, ms", p50(times.other) - p50(times.same), 50);
  bench.atMost("steps lost by kill -9", Math.max(...lost), CHECKPOINT_STEPS);
  bench.report({
    request_ms: spread(times.tempera),
    bare_ms: spread(times.bare),
    same_adapter_ms: spread(times.same),
    another_adapter_ms: spread(times.other),
    lost_steps: lost,
  });
});

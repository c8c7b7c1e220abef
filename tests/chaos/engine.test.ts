/** Engines that die in the middle of a generation, and models whose files are broken. */
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  CheckpointStore,
} from "../../src/activities/inference/checkpoint-store.ts";
import { createFileObjectStore } from "../../src/adapters/object-store/file-object-store.ts";
import type { JsonObject } from "../../src/core/json/json.ts";
import type { ModelVersion } from "../../src/core/models/model.ts";
import { EnginePool } from "../../src/gpu-workers/worker/pool/engine-pool.ts";
import { ENGINE_PROGRAMS } from "../../src/gpu-workers/worker/process/engine-programs.ts";
import { loadRegistry } from "../../src/registry/registry.ts";
import { type Cluster, startCluster } from "./cluster.ts";

const STUB = "tempera/stub";
const QWEN = "fal-ai/qwen-image";
const PROJECT = resolve(import.meta.dirname, "../..");
const STEPS = 20;

const picture: JsonObject = {
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
};

interface Ran {
  digests: string[];
  steps: number[];
  lines: string[];
}

let qwen: ModelVersion;
let folder: string;
const pools: EnginePool[] = [];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tempera-engine-"));
  const registry = await loadRegistry({
    modelsFolder: join(PROJECT, "models"),
    schemasFolder: join(PROJECT, "schemas"),
  });
  qwen = { ...(registry.route(QWEN)?.model as ModelVersion), checkpoint: { everySteps: 1, everySeconds: 0 } };
});
afterAll(async () => {
  for (const pool of pools) await pool[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

function poolOf(...models: ModelVersion[]): EnginePool {
  const pool = new EnginePool({
    findModel: (endpoint) => models.find((model) => model.endpoint === endpoint),
    programs: ENGINE_PROGRAMS,
    folder: mkdtempSync(join(folder, "sockets-")),
    workerName: "worker",
    log: () => {},
  });
  pools.push(pool);
  return pool;
}

/** One attempt, as the inference activity makes it. */
async function attempt(
  pool: EnginePool,
  endpoint: string,
  input: JsonObject,
  {
    number = 1,
    keeper,
    onState = () => {},
  }: { number?: number; keeper?: CheckpointStore; onState?: (step: number) => void } = {},
): Promise<Ran> {
  const ran: Ran = { digests: [], steps: [], lines: [] };
  const checkpoint = number > 1 ? await keeper?.find() : undefined;
  await pool.run(
    {
      requestId: "request",
      attempt: number,
      endpoint,
      version: "1.0.0",
      input,
      ...(checkpoint && { checkpoint }),
    },
    {
      started: () => {},
      log: (level, message) => ran.lines.push(`${level} ${message}`),
      progress: (step) => {
        ran.steps.push(step);
        // The last step has no checkpoint: only the decoder is left to run.
        if (step === STEPS) onState(step);
      },
      ...(keeper && {
        checkpoint: (step: number, bytes: Uint8Array) => {
          keeper.save(step, bytes);
          onState(step);
        },
      }),
      artifact: async (_, chunks) => {
        const hash = createHash("sha256");
        for await (const chunk of chunks) hash.update(chunk);
        ran.digests.push(hash.digest("hex"));
      },
    },
    new AbortController().signal,
  );
  return ran;
}

describe("kill -9 of the engine", () => {
  const objects = () => createFileObjectStore({ folder: join(folder, "objects") });
  let pool: EnginePool;
  let whole: Ran;
  beforeAll(async () => {
    pool = poolOf(qwen);
    whole = await attempt(pool, QWEN, picture);
  });

  it.each(Array.from({ length: STEPS }, (_, i) => i + 1))(
    "at step %i of 20: the same picture, from the step the log names",
    async (at) => {
      const warnings: string[] = [];
      const newKeeper = () =>
        new CheckpointStore(objects(), `kill-${at}`, (message) => warnings.push(message));
      const first = newKeeper();
      const onState = (step: number) => {
        if (step === at) process.kill(pool.list()[0]?.pid ?? 0, "SIGKILL");
      };
      await expect(attempt(pool, QWEN, picture, { keeper: first, onState })).rejects.toMatchObject({
        code: "runner_disconnected",
      });
      await first.flush();

      // The next attempt may be another worker's: it knows the request, and nothing else.
      const second = newKeeper();
      const rest = await attempt(pool, QWEN, picture, { number: 2, keeper: second });
      expect(rest.digests).toEqual(whole.digests);
      const from = Number(/INFO Going on from step (\d+)\./.exec(rest.lines.join("\n"))?.[1] ?? 0);
      expect([rest.steps[0], rest.steps.at(-1)]).toEqual([from + 1, STEPS]);
      // No step is lost that had been handed out; a later one may have come before the blow.
      expect(from).toBeGreaterThanOrEqual(Math.min(at, STEPS - 1));
      await second.remove();
      expect(warnings).toEqual([]);
    },
  );

  it("leaves a picture that shares its steps with it as it is", async () => {
    let killed = false;
    const onState = (step: number) => {
      if (killed || step < 10) return;
      killed = true;
      process.kill(pool.list()[0]?.pid ?? 0, "SIGKILL");
    };
    const requests = [1, 2, 3].map((seed) => ({ ...picture, seed }));
    const alone: string[][] = [];
    for (const request of requests) alone.push((await attempt(pool, QWEN, request)).digests);
    const together = await Promise.all(
      requests.map(async (request) => {
        const keeper = new CheckpointStore(objects(), `shared-${request.seed}`, () => {});
        await attempt(pool, QWEN, request, { keeper, onState }).catch(() => keeper.flush());
        return (await attempt(pool, QWEN, request, { number: 2, keeper })).digests;
      }),
    );
    expect(killed).toBe(true);
    expect(together).toEqual(alone);
  });
});

describe("a model whose files are broken", () => {
  const NETWORK = "transformer/model.onnx";
  /**
   * A copy of the picture model, spoilt. Its digests are not looked at: that is the registry's part, at
   * start.
   */
  const spoilt = (endpoint: string, spoil: (model: string) => void): ModelVersion => {
    const copy = mkdtempSync(join(folder, "model-"));
    cpSync(qwen.folder, copy, { recursive: true });
    spoil(copy);
    return { ...qwen, endpoint, folder: copy };
  };

  it("cut short: the load says which, and the next one is tried all the same", async () => {
    const cut = spoilt("test/cut", (model) => truncateSync(join(model, NETWORK), 100_000));
    const pool = poolOf(qwen, cut);
    const other = attempt(pool, QWEN, picture);
    const faults = await Promise.all(
      [1, 2].map(() => attempt(pool, "test/cut", picture).catch((error: unknown) => error)),
    );
    for (const fault of faults) {
      expect(fault).toMatchObject({
        code: "runner_scheduling_failure",
        message: expect.stringMatching(/test\/cut .*could not load: .*transformer\/model\.onnx/),
      });
    }
    expect((await other).digests).toHaveLength(1);
  });

  it("another network in its place: runner_server_error, the engine lives, other models too", async () => {
    const swapped = spoilt("test/swapped", (model) =>
      cpSync(join(model, "vae_decoder/model.onnx"), join(model, NETWORK)),
    );
    const pool = poolOf(qwen, swapped);
    const other = attempt(pool, QWEN, picture);
    for (let i = 0; i < 2; i++)
      await expect(attempt(pool, "test/swapped", picture)).rejects.toMatchObject({
        code: "runner_server_error",
      });
    const state = pool.list().find(({ endpoint }) => endpoint === "test/swapped");
    expect(state).toMatchObject({ state: "ready", running: 0 });
    expect((await other).digests).toHaveLength(1);
  });

  it("weights that are no numbers: runner_server_error that names the step", async () => {
    const nan = spoilt("test/nan", (model) => {
      const file = join(model, NETWORK);
      const bytes = readFileSync(file);
      // The middle of the file is weights, float16: all ones is not a number.
      bytes.fill(0xff, bytes.length >> 1, (bytes.length >> 1) + 256);
      writeFileSync(file, bytes);
    });
    const pool = poolOf(nan);
    await expect(attempt(pool, "test/nan", picture)).rejects.toMatchObject({
      code: "runner_server_error",
      message: "The network gave numbers that are not finite in step 1 of 20.",
    });
  });
});

describe("checkpoints of the platform's jobs", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster(STUB);
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  const input = { seed: 3, delay_ms: 6_000, steps: 30, artifact_bytes: 2_000 };
  const submit = async (more: object = {}) =>
    (await cluster.client.submit(STUB, { ...input, ...more })).request_id;
  const kept = async (id: string) => (await cluster.objects.head(`checkpoints/${id}`)) !== undefined;
  const keptFrom = (id: string, step: number) =>
    expect
      .poll(async () => (await cluster.client.status(STUB, id)).progress?.step ?? 0, { timeout: 30_000 })
      .toBeGreaterThanOrEqual(step)
      .then(() => expect.poll(() => kept(id)).toBe(true));
  const ended = async (id: string) => {
    for (const until = Date.now() + 60_000; Date.now() < until; await sleep(100)) {
      const status = await cluster.client.status(STUB, id);
      if (status.status === "COMPLETED") return status;
    }
    throw new Error(`${id} did not end`);
  };

  it.each(["engine", "gpu-worker"] as const)(
    "kill -9 of the %s: the next attempt goes on, and nothing is left behind",
    async (part) => {
      const id = await submit();
      await keptFrom(id, 15);
      if (part === "engine") process.kill((await cluster.engines())[0] ?? 0, "SIGKILL");
      else {
        await cluster.kill("gpu-worker");
        await cluster.restart("gpu-worker");
      }
      const { logs } = await ended(id);
      const from = Number(
        /Going on from step (\d+)\./.exec(logs?.map(({ message }) => message).join("\n") ?? "")?.[1] ?? 0,
      );
      expect(from).toBeGreaterThanOrEqual(14);
      expect(await cluster.client.result(STUB, id)).toMatchObject({
        seed: 3,
        attempt: 2,
        file: { file_size: 2_000 },
      });
      await expect.poll(() => kept(id)).toBe(false);
    },
  );

  it("a job that is cancelled, or fails for good, leaves nothing behind", async () => {
    const [cancelled, failed] = [await submit(), await submit({ fail: "error", fail_step: 20 })];
    await keptFrom(cancelled, 5);
    await cluster.client.cancel(STUB, cancelled);
    expect((await ended(failed)).error).toBeDefined();
    await ended(cancelled);
    for (const id of [cancelled, failed]) await expect.poll(() => kept(id), { timeout: 10_000 }).toBe(false);
  });

  it("a job whose attempts are used up goes on each time, and leaves nothing behind", async () => {
    const id = await submit({ delay_ms: 3_000, fail: "crash", fail_step: 25 });
    const { error, logs } = await ended(id);
    expect(error).toBeDefined();
    const said =
      logs?.map(({ message }) => message).filter((message) => message.startsWith("Going on")) ?? [];
    expect(said.length).toBe(4);
    await expect.poll(() => kept(id), { timeout: 10_000 }).toBe(false);
  });
});

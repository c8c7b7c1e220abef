/** Engines that are killed in the middle of a generation, and models with broken files. */
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { buffer } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CheckpointStore } from "../../src/activities/inference/checkpoint-store.ts";
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

const image: JsonObject = {
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

interface AttemptRun {
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

/** Runs one attempt as the inference activity does. */
async function attempt(
  pool: EnginePool,
  endpoint: string,
  input: JsonObject,
  {
    number = 1,
    checkpoints,
    onStep = () => {},
  }: { number?: number; checkpoints?: CheckpointStore; onStep?: (step: number) => void } = {},
): Promise<AttemptRun> {
  const ran: AttemptRun = { digests: [], steps: [], lines: [] };
  const checkpoint = number > 1 ? await checkpoints?.find() : undefined;
  await pool.run(
    {
      requestId: "request",
      ownerId: "owner",
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
        if (step === STEPS) onStep(step);
      },
      ...(checkpoints && {
        checkpoint: (step: number, bytes: Uint8Array) => {
          checkpoints.save(step, bytes);
          onStep(step);
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
  let whole: AttemptRun;
  beforeAll(async () => {
    pool = poolOf(qwen);
    whole = await attempt(pool, QWEN, image);
  });

  it.each(Array.from({ length: STEPS }, (_, i) => i + 1))(
    "at step %i of 20 gives the same image, from the step in the log",
    async (killStep) => {
      const warnings: string[] = [];
      const newStore = () =>
        new CheckpointStore(objects(), `kill-${killStep}`, (message) => warnings.push(message));
      const first = newStore();
      const onStep = (step: number) => {
        if (step === killStep) process.kill(pool.list()[0]?.pid ?? 0, "SIGKILL");
      };
      await expect(attempt(pool, QWEN, image, { checkpoints: first, onStep })).rejects.toMatchObject({
        code: "runner_disconnected",
      });
      await first.flush();

      // The next attempt may be on another worker, which knows the request and nothing else.
      const second = newStore();
      const rest = await attempt(pool, QWEN, image, { number: 2, checkpoints: second });
      expect(rest.digests).toEqual(whole.digests);
      const from = Number(/INFO Going on from step (\d+)\./.exec(rest.lines.join("\n"))?.[1] ?? 0);
      expect([rest.steps[0], rest.steps.at(-1)]).toEqual([from + 1, STEPS]);
      // No step with a stored checkpoint is lost; a later one may have been stored before the kill.
      expect(from).toBeGreaterThanOrEqual(Math.min(killStep, STEPS - 1));
      await second.remove();
      expect(warnings).toEqual([]);
    },
  );

  it("does not change an image that shares its steps with it", async () => {
    let killed = false;
    const onStep = (step: number) => {
      if (killed || step < 10) return;
      killed = true;
      process.kill(pool.list()[0]?.pid ?? 0, "SIGKILL");
    };
    const requests = [1, 2, 3].map((seed) => ({ ...image, seed }));
    const alone: string[][] = [];
    for (const request of requests) alone.push((await attempt(pool, QWEN, request)).digests);
    const together = await Promise.all(
      requests.map(async (request) => {
        const checkpoints = new CheckpointStore(objects(), `shared-${request.seed}`, () => {});
        await attempt(pool, QWEN, request, { checkpoints, onStep }).catch(() => checkpoints.flush());
        return checkpoints;
      }),
    ).then(async (kept) => {
      // Each is a suspect, and has the engine for itself.
      const digests: string[][] = [];
      for (const [index, request] of requests.entries())
        digests.push(
          (await attempt(pool, QWEN, request, { number: 2, checkpoints: kept[index] as CheckpointStore }))
            .digests,
        );
      return digests;
    });
    expect(killed).toBe(true);
    expect(together).toEqual(alone);
  });
});

describe("a model with broken files", () => {
  const NETWORK = "transformer/model.onnx";
  /** A broken copy of the image model. Only the registry checks digests, at its start. */
  const broken = (endpoint: string, damage: (model: string) => void): ModelVersion => {
    const copy = mkdtempSync(join(folder, "model-"));
    cpSync(qwen.folder, copy, { recursive: true });
    damage(copy);
    return { ...qwen, endpoint, folder: copy };
  };

  it("fails to load with the name of a truncated file, and a second load is attempted", async () => {
    const cut = broken("test/cut", (model) => truncateSync(join(model, NETWORK), 100_000));
    const pool = poolOf(qwen, cut);
    const other = attempt(pool, QWEN, image);
    const errors = await Promise.all(
      [1, 2].map(() => attempt(pool, "test/cut", image).catch((error: unknown) => error)),
    );
    for (const error of errors) {
      expect(error).toMatchObject({
        code: "runner_scheduling_failure",
        message: expect.stringMatching(/test\/cut .*could not load: .*transformer\/model\.onnx/),
      });
    }
    expect((await other).digests).toHaveLength(1);
  });

  it("fails with runner_server_error when a file is another network, and the engine survives", async () => {
    const swapped = broken("test/swapped", (model) =>
      cpSync(join(model, "vae_decoder/model.onnx"), join(model, NETWORK)),
    );
    const pool = poolOf(qwen, swapped);
    const other = attempt(pool, QWEN, image);
    for (let i = 0; i < 2; i++)
      await expect(attempt(pool, "test/swapped", image)).rejects.toMatchObject({
        code: "runner_server_error",
      });
    const state = pool.list().find(({ endpoint }) => endpoint === "test/swapped");
    expect(state).toMatchObject({ state: "ready", running: 0 });
    expect((await other).digests).toHaveLength(1);
  });

  it("fails with runner_server_error and the step when weights are not numbers", async () => {
    const nan = broken("test/nan", (model) => {
      const file = join(model, NETWORK);
      const bytes = readFileSync(file);
      // The middle of the file is weights, float16: all ones is not a number.
      bytes.fill(0xff, bytes.length >> 1, (bytes.length >> 1) + 256);
      writeFileSync(file, bytes);
    });
    const pool = poolOf(nan);
    await expect(attempt(pool, "test/nan", image)).rejects.toMatchObject({
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

  const input = { seed: 3, delay_ms: 3_000, steps: 30, artifact_bytes: 2_000 };
  /** The first attempt stops after this step, until it is ended. */
  const waitsAfter = (step: number) => ({ fail: "hang", fail_attempts: 1, fail_step: step });
  const submit = async (more: object = {}) =>
    (await cluster.client.submit(STUB, { ...input, ...more })).request_id;
  const hasCheckpoint = async (id: string) => (await cluster.objects.head(`checkpoints/${id}`)) !== undefined;
  /** Returns the step of the stored checkpoint, once it is this one or a later one. */
  async function savedStep(id: string, least: number): Promise<number> {
    let step = 0;
    const read = async (): Promise<number> => {
      const stored = await cluster.objects.get(`checkpoints/${id}`);
      const header = stored && (await buffer(stored.body)).toString("latin1");
      step = Number(/"step":(\d+)/.exec(header ?? "")?.[1] ?? 0);
      return step;
    };
    await expect.poll(read).toBeGreaterThanOrEqual(least);
    return step;
  }
  const ended = async (id: string) => {
    for (; ; await sleep(100)) {
      const status = await cluster.client.status(STUB, id);
      if (status.status === "COMPLETED") return status;
    }
  };

  it.each(["engine", "gpu-worker"] as const)(
    "kill -9 of the %s: the next attempt continues, and no checkpoint is left",
    async (part) => {
      const id = await submit(waitsAfter(15));
      const step = await savedStep(id, 10);
      if (part === "engine") process.kill((await cluster.engines())[0] ?? 0, "SIGKILL");
      else {
        await cluster.kill("gpu-worker");
        await cluster.restart("gpu-worker");
      }
      const { logs } = await ended(id);
      const from = Number(
        /Going on from step (\d+)\./.exec(logs?.map(({ message }) => message).join("\n") ?? "")?.[1] ?? 0,
      );
      expect(from).toBeGreaterThanOrEqual(step);
      expect(await cluster.client.result(STUB, id)).toMatchObject({
        seed: 3,
        attempt: 2,
        file: { file_size: 2_000 },
      });
      await expect.poll(() => hasCheckpoint(id)).toBe(false);
    },
  );

  it("are removed when a job is cancelled or fails finally", async () => {
    const [cancelled, failed] = [await submit(waitsAfter(5)), await submit({ fail: "error", fail_step: 20 })];
    await savedStep(cancelled, 1);
    await cluster.client.cancel(STUB, cancelled);
    expect((await ended(failed)).error).toBeDefined();
    await ended(cancelled);
    for (const id of [cancelled, failed]) await expect.poll(() => hasCheckpoint(id)).toBe(false);
  });

  it("are used by the second attempt of a job that crashes its engine, and removed at its end", async () => {
    const id = await submit({ delay_ms: 3_000, fail: "crash", fail_step: 25 });
    const { error, logs } = await ended(id);
    expect(error).toBeDefined();
    const resumed =
      logs?.map(({ message }) => message).filter((message) => message.startsWith("Going on")) ?? [];
    expect(resumed.length).toBe(1);
    await expect.poll(() => hasCheckpoint(id)).toBe(false);
  });
});

/** The jobs of a run, which a seed decides. */
import type { JsonObject } from "../../../src/core/json/json.ts";
import type { Random } from "../random.ts";

/** One job as its client will submit and follow it. */
export interface JobPlan {
  number: number;
  endpoint: string;
  input: JsonObject;
  /** Present when its client sends an `Idempotency-Key`. */
  key?: string;
  /** Submitted to both gateways at once. */
  isTwin: boolean;
  hasWebhook: boolean;
  follows: "polls" | "stream";
  /** Its client cancels it after this time. */
  cancelAfterMs?: number;
  /** The ends that are right: `ok`, or an error code. A cancel adds its own. */
  ends: string[];
  /** Image jobs of one pair have the same prompt and seed. */
  pair?: string;
  /** The field of its input that names a file of the receiver. */
  fileField?: string;
  /** Its input is an object, so that it cannot be submitted without the object store. */
  isBig?: boolean;
}

const STUB = "tempera/stub";
const PIPELINE = "tempera/stub-pipeline";
const IMAGE = "fal-ai/qwen-image";
const PROMPTS = ["a large red circle on a blue background", "two small green squares", "a yellow triangle"];
/** More than is kept inline, so that input and output are objects. */
const BIG_BYTES = 40_000;
const OK = ["ok"];

interface Kind {
  weight: number;
  make(random: Random, number: number): Pick<JobPlan, "endpoint" | "input" | "ends"> & Partial<JobPlan>;
}

/** The kinds of jobs, and how many of a hundred are of each. */
const KINDS: Kind[] = [
  {
    weight: 32,
    make: (random, number) => stub({ payload: number, delay_ms: random.integer(0, 800), steps: 4 }),
  },
  {
    weight: 20,
    make: (random, number) => stub({ payload: number, delay_ms: random.integer(1_500, 6_000), steps: 12 }),
  },
  {
    weight: 12,
    make: (random, number) =>
      stub({
        payload: number,
        delay_ms: random.integer(0, 1_500),
        artifact_bytes: random.integer(1_000, 200_000),
      }),
  },
  { weight: 5, make: (_, number) => ({ ...stub({ payload: number }), fileField: "file_url" }) },
  {
    weight: 5,
    make: (random, number) => ({
      ...stub({ payload: `${number} ${"x".repeat(BIG_BYTES)}`, delay_ms: random.integer(0, 900) }),
      isBig: true,
    }),
  },
  { weight: 8, make: (random) => imageJob(random) },
  { weight: 8, make: (random, number) => pipelineJob(random, number) },
  {
    weight: 4,
    make: (random, number) => ({
      ...stub({ payload: number, delay_ms: random.integer(0, 300), fail: "invalid" }),
      ends: ["input_invalid"],
    }),
  },
  {
    weight: 6,
    make: (random, number) => ({
      ...stub({ payload: number, delay_ms: random.integer(2_000, 5_000), steps: 10 }),
      cancelAfterMs: random.integer(0, 2_500),
      ends: ["ok", "client_cancelled"],
    }),
  },
];

const stub = (input: JsonObject) => ({ endpoint: STUB, input, ends: OK });

function imageJob(random: Random) {
  const prompt = random.pick(PROMPTS);
  const seed = random.integer(1, 2);
  const input = { prompt, seed, image_size: "square", num_inference_steps: 2, use_turbo: true };
  return { endpoint: IMAGE, input, ends: OK, pair: `${prompt}, seed ${seed}` };
}

function pipelineJob(random: Random, number: number) {
  const step = (stage: number) => ({
    payload: `${number}/${stage}`,
    delay_ms: random.integer(50, 700),
    steps: 2,
  });
  return { endpoint: PIPELINE, input: { stages: [[step(1), step(2)], [step(3)]] }, ends: OK };
}

/** Plans jobs. The same random numbers give the same jobs. */
export function planJobs(random: Random, count: number): JobPlan[] {
  const deck = KINDS.flatMap((kind) => Array<Kind>(kind.weight).fill(kind));
  return Array.from({ length: count }, (_, number) => {
    const isKeyed = random.chance(0.7);
    const made = random.pick(deck).make(random, number);
    return {
      number,
      ...made,
      ...(isKeyed && { key: `job-${number}` }),
      isTwin: isKeyed && random.chance(0.25),
      // A call without a key whose answer was lost is recognised by its webhook.
      hasWebhook: !isKeyed || random.chance(0.4),
      follows: random.chance(0.2) ? "stream" : "polls",
    };
  });
}

/** Plans a short job that shows whether the platform works. */
export function planProbe(number: number): JobPlan {
  return {
    number,
    ...stub({ payload: `probe ${number}` }),
    key: `probe-${number}`,
    isTwin: false,
    hasWebhook: false,
    follows: "polls",
  };
}

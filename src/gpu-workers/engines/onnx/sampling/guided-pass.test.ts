import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { createRowPass } from "../runtime/network-rows.ts";
import { type OnnxSession, openOnnxSession } from "../runtime/onnx-session.ts";
import { type GuidedItem, guidedVelocities } from "./guided-pass.ts";
import { normalNoise } from "./philox.ts";

const TRANSFORMER = join(
  import.meta.dirname,
  "../../../../../models/fal-ai/qwen-image/1.0.0/transformer/model.onnx",
);
const [TOKENS, WIDTH] = [32, 128];
const shape = { channels: 4, height: 14, width: 18, patch: 2 };
const count = shape.channels * shape.height * shape.width;

/** Makes item n: latents, noise level, text and guidance all differ; every third needs no second row. */
const item = (n: number): GuidedItem => ({
  latents: { data: normalNoise(BigInt(n), count), shape: [4, 14, 18] },
  sigma: 1 / (n + 1),
  conditions: [0, 1].map((row) => ({
    encoder_hidden_states: {
      data: normalNoise(BigInt(1000 + 2 * n + row), TOKENS * WIDTH),
      shape: [TOKENS, WIDTH],
    },
    encoder_attention_mask: {
      data: BigInt64Array.from({ length: TOKENS }, (_, i) => (i < 5 + n ? 1n : 0n)),
      shape: [TOKENS],
    },
  })),
  guidanceScale: n % 3 === 2 ? 1 : 2 + n,
  shape,
});

describe.each([1, 2, 3])("a pass on %i threads", (threads) => {
  let session: OnnxSession;
  beforeAll(async () => {
    session = await openOnnxSession(TRANSFORMER, threads);
  });

  it("gives each item the bits it gets alone, however many share the pass", async () => {
    const pass = createRowPass(session, threads);
    const predict = (items: GuidedItem[]) => guidedVelocities(pass, items);
    const items = Array.from({ length: 9 }, (_, n) => item(n));
    const alone: Float32Array[] = [];
    for (const one of items) alone.push(...(await predict([one])).map((velocity) => velocity.slice()));
    for (const size of [2, 3, 5, 9])
      expect(await predict(items.slice(0, size))).toEqual(alone.slice(0, size));
    expect(await predict([...items].reverse())).toEqual([...alone].reverse());
  });

  it("rejects outputs that do not fit the rows", async () => {
    const run = async () => ({ data: new Float32Array(7), shape: [7] });
    const other: OnnxSession = { inputNames: [], run };
    await expect(guidedVelocities(createRowPass(other, threads), [item(0)])).rejects.toThrow(
      /gave 7 numbers for \d rows/,
    );
  });
});

/**
 * The baseline of `bench:engine`: the networks of an image model in a bare loop of `session.run`, no
 * platform, no engine, plain JavaScript. Receives the number of images and the size of a batch over IPC;
 * replies with the seconds that it took.
 *
 * `node bare-onnx.mjs <model folder> <threads>`; with `once` as the last argument it only opens the sessions.
 */
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";

const [folder, threads, once] = process.argv.slice(2);
const open = (name) =>
  InferenceSession.create(join(folder, name, "model.onnx"), {
    intraOpNumThreads: Number(threads),
    interOpNumThreads: 1,
    executionMode: "sequential",
    graphOptimizationLevel: "all",
    extra: {
      session: { intra_op: { allow_spinning: "1", spin_duration_us: "50" }, force_spinning_stop: "1" },
    },
  });
const [textEncoder, transformer, decoder] = [
  await open("text_encoder"),
  await open("transformer"),
  await open("vae_decoder"),
];
if (once) process.exit(0);

const noise = (count) => Float32Array.from({ length: count }, () => Math.random() * 2 - 1);

/**
 * Makes `batch` images of one size: encodes prompts, makes `steps` passes with guidance (two rows each), and
 * decodes each image.
 */
async function makeImages({ batch, steps, tokens, channels, height, width }) {
  const states = [];
  for (let i = 0; i < batch; i++) {
    const ids = new Tensor(
      "int64",
      BigInt64Array.from({ length: 2 * tokens }, (_, n) => BigInt(n % 40)),
      [2, tokens],
    );
    const mask = new Tensor("int64", new BigInt64Array(2 * tokens).fill(1n), [2, tokens]);
    states.push((await textEncoder.run({ input_ids: ids, attention_mask: mask })).hidden_states);
  }
  const rows = 2 * batch;
  const wide = states[0].dims[2];
  const feeds = {
    latents: new Tensor("float32", noise(rows * channels * height * width), [rows, channels, height, width]),
    timestep: new Tensor("float32", new Float32Array(rows).fill(500), [rows]),
    encoder_hidden_states: new Tensor("float32", Float32Array.from(states.flatMap(({ data }) => [...data])), [
      rows,
      tokens,
      wide,
    ]),
    encoder_attention_mask: new Tensor("int64", new BigInt64Array(rows * tokens).fill(1n), [rows, tokens]),
  };
  for (let step = 0; step < steps; step++) await transformer.run(feeds);
  for (let i = 0; i < batch; i++) {
    await decoder.run({
      latents: new Tensor("float32", noise(channels * height * width), [1, channels, height, width]),
    });
  }
}

process.on("message", async ({ count, ...shape }) => {
  const sinceMs = performance.now();
  for (let done = 0; done < count; done += shape.batch) await makeImages(shape);
  process.send({ seconds: (performance.now() - sinceMs) / 1000 });
});
process.send("ready");

/**
 * The other side of `bench:engine`: the networks of a picture model in a bare loop of `session.run`, no
 * platform, no engine, plain JavaScript. Told over IPC how many pictures to make in batches of what size;
 * answers with the seconds it took.
 *
 * `node bare-onnx.mjs <model folder> <threads>`; with `once` behind it, only opens the sessions and ends.
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
 * `batch` pictures of one size: prompts encoded, `steps` passes with guidance (two rows each), each picture
 * decoded.
 */
async function pictures({ batch, steps, tokens, channels, height, width }) {
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
  for (let made = 0; made < count; made += shape.batch) await pictures(shape);
  process.send({ seconds: (performance.now() - sinceMs) / 1000 });
});
process.send("ready");

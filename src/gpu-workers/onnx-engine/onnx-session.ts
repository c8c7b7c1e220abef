/** One ONNX network in memory. */
import { readFile } from "node:fs/promises";
import * as ort from "onnxruntime-node";

export type TensorData = Float32Array | BigInt64Array;
export type Feed = { data: TensorData; shape: readonly number[] };

export interface OnnxSession {
  /** Runs the network; blocks this thread meanwhile. Resolves with its one float32 output. */
  run(feeds: Record<string, Feed>): Promise<{ data: Float32Array; shape: readonly number[] }>;
}

/**
 * Opens a network on the CPU.
 *
 * @param threads fixed, so that sums are always added in the same order and the same input gives the same bits
 */
export async function openOnnxSession(path: string, threads: number): Promise<OnnxSession> {
  const session = await createSession(path, threads).catch((cause) => {
    throw new Error(`${path} cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  });
  const [outputName] = session.outputNames;
  if (outputName === undefined) throw new Error(`${path} has no output.`);
  return {
    async run(feeds) {
      const tensors = Object.entries(feeds).map(([name, { data, shape }]) => {
        const tensor = data instanceof BigInt64Array ? new ort.Tensor("int64", data, shape) : new ort.Tensor("float32", data, shape);
        return [name, tensor] as const;
      });
      const output = (await session.run(Object.fromEntries(tensors)))[outputName];
      if (!output || !(output.data instanceof Float32Array)) throw new Error(`${path} did not give float32 numbers.`);
      return { data: output.data, shape: output.dims };
    },
  };
}

const createSession = async (path: string, threads: number): Promise<ort.InferenceSession> =>
  ort.InferenceSession.create(await readFile(path), {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: "sequential",
    graphOptimizationLevel: "all",
    // A worker thread that spins while it waits takes the core from the platform's other processes.
    extra: { session: { intra_op: { allow_spinning: "0" } } },
  });

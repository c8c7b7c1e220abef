/** One ONNX network in memory. */
import { readFile } from "node:fs/promises";
import * as ort from "onnxruntime-node";
import { explainDeviceFault } from "./device-fault.ts";
import { executionProviders, explainProviderError } from "./execution-provider.ts";
import { fromFloat16, toFloat16 } from "./float16.ts";

chooseFloat16Data();

/**
 * Makes ONNX Runtime take float16 numbers as a `Uint16Array` on every Node. It chooses once, at its first
 * tensor, and where JavaScript has a `Float16Array` it takes that, which its native part (1.30) cannot read.
 */
function chooseFloat16Data(): void {
  const scope = globalThis as { Float16Array?: unknown };
  const { Float16Array } = scope;
  if (Float16Array === undefined) return;
  scope.Float16Array = undefined;
  try {
    new ort.Tensor("float32", new Float32Array(1), [1]);
  } finally {
    scope.Float16Array = Float16Array;
  }
}

export type TensorData = Float32Array | BigInt64Array;
export type Feed = { data: TensorData; shape: readonly number[] };

export interface OnnxSession {
  readonly inputNames: readonly string[];
  /**
   * Runs the network; blocks this thread meanwhile. Resolves with its one output. A network whose inputs or
   * output are float16 accepts and gives float32 too.
   */
  run(feeds: Record<string, Feed>): Promise<{ data: Float32Array; shape: readonly number[] }>;
}

/**
 * Opens a network on the device of this engine (`TEMPERA_DEVICE`; the CPU when it is absent).
 *
 * @param threads fixed, so that sums are always added in the same order and the same input gives the same
 * bits
 */
export async function openOnnxSession(path: string, threads: number): Promise<OnnxSession> {
  const session = await createSession(path, threads).catch((cause) => {
    throw new Error(`${path} cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  });
  const [outputName] = session.outputNames;
  if (outputName === undefined) throw new Error(`${path} has no output.`);
  const halves = new Set(
    session.inputMetadata.flatMap((input) =>
      input.isTensor && input.type === "float16" ? [input.name] : [],
    ),
  );
  return {
    inputNames: session.inputNames,
    async run(feeds) {
      const tensors = Object.entries(feeds).map(([name, { data, shape }]) => {
        if (data instanceof BigInt64Array) return [name, new ort.Tensor("int64", data, shape)] as const;
        if (halves.has(name)) return [name, new ort.Tensor("float16", toFloat16(data), shape)] as const;
        return [name, new ort.Tensor("float32", data, shape)] as const;
      });
      const results = await session.run(Object.fromEntries(tensors)).catch((error) => {
        throw explainDeviceFault(error);
      });
      const output = results[outputName];
      if (output?.data instanceof Float32Array) return { data: output.data, shape: output.dims };
      if (output?.type !== "float16" || !ArrayBuffer.isView(output.data))
        throw new Error(`${path} did not give float32 or float16 numbers.`);
      // A `Uint16Array`, or a `Float16Array` where the engine's JavaScript has one: the same bits.
      const { buffer, byteOffset, byteLength } = output.data;
      return { data: fromFloat16(new Uint16Array(buffer, byteOffset, byteLength / 2)), shape: output.dims };
    },
  };
}

async function createSession(path: string, threads: number): Promise<ort.InferenceSession> {
  const device = process.env.TEMPERA_DEVICE ?? "cpu";
  const options: ort.InferenceSession.SessionOptions = {
    executionProviders: executionProviders(device),
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: "sequential",
    graphOptimizationLevel: "all",
    // Threads that sleep between two operators lengthen a pass by a fifth, until they are awake again;
    // threads that spin on after the pass take a core from the platform's other processes.
    // `dynamic_block_base` is not used: it is a little faster, but the part of a tensor that a thread gets,
    // and so its last bit, would be chance.
    extra: {
      session: { intra_op: { allow_spinning: "1", spin_duration_us: "50" }, force_spinning_stop: "1" },
    },
  };
  return ort.InferenceSession.create(await readFile(path), options).catch((error) => {
    throw explainProviderError(device, error);
  });
}

/**
 * Passes of a network for several rows, made so that a row gives the same bits whatever other rows share its
 * pass.
 */
import { setImmediate as yieldToEventLoop } from "node:timers/promises";
import type { OnnxSession, TensorData } from "./onnx-session.ts";

/** The inputs of one row of a network, by their names; shapes without the batch. */
export type NetworkRow = Record<string, { data: TensorData; shape: readonly number[] }>;

/** Runs rows of one shape together; gives the network's output for each, in order. May block this thread. */
export type RowPass = (rows: readonly NetworkRow[]) => Promise<Float32Array[]>;

/**
 * Makes passes of a network that runs on so many threads, each of all the rows it is given. With fewer rows
 * than threads, and with one row, onnxruntime multiplies matrices in another order (seen with 1.30, rows 1 to
 * 32, threads 1 to 8), so such a pass is filled up with copies.
 */
export function createRowPass(network: OnnxSession, threads: number): RowPass {
  /**
   * The memory of the last pass's inputs, since most passes have as many rows as the one before. Empty while
   * a pass uses it.
   */
  let buffers: Record<string, TensorData> = {};
  return async (rows) => {
    const [first] = rows;
    if (!first) return [];
    const batch = Math.max(rows.length, threads, 2);
    const [reusable, used] = [buffers, {} as Record<string, TensorData>];
    buffers = {};
    const feeds = Object.fromEntries(
      Object.entries(first).map(([name, { data: like, shape }]) => {
        const length = batch * like.length;
        const data = reusable[name]?.length === length ? reusable[name] : newTensor(like, length);
        for (let row = 0; row < batch; row++) {
          const part = (rows[row] ?? first)[name]?.data;
          if (part?.length !== like.length) throw new Error(`Row ${row} has another ${name} than the first.`);
          (data as Float32Array).set(part as Float32Array, row * like.length);
        }
        used[name] = data;
        return [name, { data, shape: [batch, ...shape] }];
      }),
    );
    const { data } = await network.run(feeds);
    buffers = used;
    if (data.length % batch !== 0)
      throw new Error(`The network gave ${data.length} numbers for ${batch} rows.`);
    const count = data.length / batch;
    return rows.map((_, row) => data.subarray(row * count, (row + 1) * count));
  };
}

function newTensor(like: TensorData, length: number): TensorData {
  return like instanceof BigInt64Array ? new BigInt64Array(length) : new Float32Array(length);
}

/**
 * The longest pass that another row or item may cause, in milliseconds: the event loop waits for it, and
 * cancels must be seen within 300 ms.
 */
export const PASS_MS_MAX = 150;

/**
 * Runs any number of rows, in as few passes as are short enough; the event loop runs between two of them.
 */
export function createRowRunner(network: OnnxSession, threads: number): RowPass {
  const pass = createRowPass(network, threads);
  const least = Math.max(threads, 2);
  /** Milliseconds of one row, by its shapes: the best so far. */
  const rowMs = new Map<string, number>();
  return async (rows) => {
    const shapes = Object.values(rows[0] ?? {}).map(({ shape }) => shape.join("x"));
    const key = shapes.join();
    const outputs: Float32Array[] = [];
    while (outputs.length < rows.length) {
      if (outputs.length > 0) await yieldToEventLoop();
      const worth = Math.floor(PASS_MS_MAX / (rowMs.get(key) ?? PASS_MS_MAX));
      const part = rows.slice(outputs.length, outputs.length + Math.max(least, worth));
      const sinceMs = performance.now();
      outputs.push(...(await pass(part)));
      const ownMs = (performance.now() - sinceMs) / Math.max(part.length, least);
      rowMs.set(key, Math.min(rowMs.get(key) ?? Number.POSITIVE_INFINITY, ownMs));
    }
    return outputs;
  };
}

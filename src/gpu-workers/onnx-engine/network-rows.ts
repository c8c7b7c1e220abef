/** One pass of a network for several rows, so that a row gives the same bits whatever other rows share its pass. */
import type { OnnxSession, TensorData } from "./onnx-session.ts";

/** What one row of a network is given, input by input; shapes without the batch. */
export type NetworkRow = Record<string, { data: TensorData; shape: readonly number[] }>;

/**
 * Runs rows of one shape together; what the network gives for each, in order. May block this thread.
 *
 * With fewer rows than threads, and with one row, onnxruntime multiplies matrices in another order (seen with 1.30), so such a
 * pass is filled up with copies.
 */
export async function runRows(network: OnnxSession, rows: readonly NetworkRow[], threads: number): Promise<Float32Array[]> {
  const [first] = rows;
  if (!first) return [];
  const batch = Math.max(rows.length, threads, 2);
  const feeds = Object.fromEntries(
    Object.entries(first).map(([name, { data: like, shape }]) => {
      const data = like instanceof BigInt64Array ? new BigInt64Array(batch * like.length) : new Float32Array(batch * like.length);
      for (let row = 0; row < batch; row++) {
        const part = (rows[row] ?? first)[name]?.data;
        if (part?.length !== like.length) throw new Error(`Row ${row} has another ${name} than the first.`);
        (data as Float32Array).set(part as Float32Array, row * like.length);
      }
      return [name, { data, shape: [batch, ...shape] }];
    }),
  );
  const { data } = await network.run(feeds);
  if (data.length % batch !== 0) throw new Error(`The network gave ${data.length} numbers for ${batch} rows.`);
  const count = data.length / batch;
  return rows.map((_, row) => data.subarray(row * count, (row + 1) * count));
}

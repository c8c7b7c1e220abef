import { existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { openOnnxSession } from "./onnx-session.ts";

/** Encodes a field of a protobuf message: a number or bytes. */
const field = (tag: number, value: number | string | Buffer): Buffer => {
  if (typeof value === "number") return Buffer.from([tag << 3, value]);
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([(tag << 3) | 2, bytes.length]), bytes]);
};
const message = (...fields: Buffer[]): Buffer => Buffer.concat(fields);
/** ONNX's numbers of its types (TensorProto.DataType). */
const TYPES = { float32: 1, float16: 10, int32: 6 } as const;

/** Writes the network `sum = a + b` on vectors of length 4, in ONNX's protobuf (onnx.proto, opset 14). */
function sumNetwork(type: keyof typeof TYPES): string {
  const vector = (name: string) =>
    message(
      field(1, name),
      field(2, field(1, message(field(1, TYPES[type]), field(2, field(1, field(1, 4)))))),
    );
  const node = message(field(1, "a"), field(1, "b"), field(2, "sum"), field(4, "Add"));
  const graph = message(
    field(1, node),
    field(2, "g"),
    field(11, vector("a")),
    field(11, vector("b")),
    field(12, vector("sum")),
  );
  const path = join(mkdtempSync(join(tmpdir(), "onnx-")), `${type}.onnx`);
  writeFileSync(path, message(field(1, 8), field(7, graph), field(8, field(2, 14))));
  return path;
}

/** Writes the network `y = log(x)` on a vector of any length. */
function logNetwork(): string {
  const vector = (name: string) =>
    message(
      field(1, name),
      field(2, field(1, message(field(1, TYPES.float32), field(2, field(1, field(2, "n")))))),
    );
  const node = message(field(1, "x"), field(2, "y"), field(4, "Log"));
  const graph = message(field(1, node), field(2, "g"), field(11, vector("x")), field(12, vector("y")));
  const path = join(mkdtempSync(join(tmpdir(), "onnx-")), "log.onnx");
  writeFileSync(path, message(field(1, 8), field(7, graph), field(8, field(2, 14))));
  return path;
}

const vector = (...values: number[]) => ({ data: Float32Array.from(values), shape: [4] });

describe("an ONNX session", () => {
  it("runs a float32 network", async () => {
    const session = await openOnnxSession(sumNetwork("float32"), 1);
    const { data, shape } = await session.run({ a: vector(1, 2, 3, 4), b: vector(0.1, 0, -3, 1e9) });
    expect([...data]).toEqual([...Float32Array.from([1.1, 2, 0, 1e9 + 4])]);
    expect(shape).toEqual([4]);
  });

  it("accepts and gives float32 for a float16 network, rounded to halves", async () => {
    const session = await openOnnxSession(sumNetwork("float16"), 1);
    const { data, shape } = await session.run({
      a: vector(1, 0.1, 65_504, -2),
      b: vector(2, 0, 65_504, 2 ** -24),
    });
    expect(data).toBeInstanceOf(Float32Array);
    expect([...data]).toEqual([3, 0.0999755859375, Number.POSITIVE_INFINITY, -2]);
    expect(shape).toEqual([4]);
  });

  it("gives the same bits each time, whichever thread is first", async () => {
    const session = await openOnnxSession(logNetwork(), 4);
    const x = {
      data: Float32Array.from({ length: 200_003 }, (_, i) => 1e-3 + ((i * 7919) % 1009)),
      shape: [200_003],
    };
    const first = Buffer.from((await session.run({ x })).data.slice().buffer);
    for (let i = 0; i < 60; i++) {
      const { buffer, byteOffset, byteLength } = (await session.run({ x })).data;
      expect(first.equals(Buffer.from(buffer, byteOffset, byteLength)), `run ${i}`).toBe(true);
    }
  });

  it("rejects an output of another type with an error that names the file", async () => {
    const path = sumNetwork("int32");
    const session = await openOnnxSession(path, 1);
    await expect(session.run({ a: vector(1, 2, 3, 4), b: vector(1, 2, 3, 4) })).rejects.toThrow();
  });
});

describe("on a device that cannot be used", () => {
  afterEach(() => {
    delete process.env.TEMPERA_DEVICE;
  });

  it("names in one line what is missing and how to get it", async () => {
    process.env.TEMPERA_DEVICE = "cuda:0";
    // On a machine that has a GPU and the libraries the session opens without an error.
    const message = await openOnnxSession(sumNetwork("float32"), 1).then(
      () => undefined,
      (error: Error) => error.message,
    );
    if (message === undefined) return expect(existsSync("/dev/nvidia0")).toBe(true);
    expect(message).toMatch(/cuda:0 (needs|cannot be used)[^\n]*TEMPERA_WORKER_DEVICE=cpu\.$/);
    expect(message.split("\n")).toHaveLength(1);
  });
});

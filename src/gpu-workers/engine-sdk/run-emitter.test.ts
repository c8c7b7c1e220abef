import { createHash } from "node:crypto";
import { describe, expect, it, vi } from "vitest";
import { decodeCheckpoint } from "../contract/checkpoint.ts";
import { CHUNK_BYTES_MAX, type RunEvent } from "../contract/engine-protocol.ts";
import { createEmitter, type EmitterOptions } from "./run-emitter.ts";

const owner = { model: "model", input: "input" };

function emitting({
  accepts = () => true,
  ...options
}: Partial<EmitterOptions> & { accepts?: () => boolean } = {}) {
  const events: RunEvent[] = [];
  const waiting: (() => void)[] = [];
  const emit = createEmitter(
    {
      write: (event) => {
        events.push(event);
        return accepts();
      },
      drained: () => new Promise((resolve) => waiting.push(resolve)),
    },
    { signal: new AbortController().signal, previews: false, ...options },
  );
  const drain = async () => {
    for (const resolve of waiting.splice(0)) resolve();
    await new Promise((next) => setImmediate(next));
  };
  return { events, emit, drain, kinds: () => events.map((event) => Object.keys(event)[0]) };
}

const checkpoints = (policy: { everySteps: number; everySeconds: number }) => ({
  owner,
  policy,
  sinceStep: 0,
  sinceMs: performance.now(),
});
const state = () => ({ values: {}, tensors: [Float32Array.of(1)] });

describe("a file being sent", () => {
  it("is not interrupted by other events or another file, which follow in order", async () => {
    const { emit, drain, kinds } = emitting({ accepts: () => false });
    const sent = emit.artifact({ contentType: "a/b", fileName: "a" }, new Uint8Array(CHUNK_BYTES_MAX + 1));
    const second = emit.artifact({ contentType: "a/b", fileName: "b" }, new Uint8Array(1));
    await Promise.resolve();
    emit.progress(1, 2);
    emit.log("INFO", "logged meanwhile");
    for (let i = 0; i < 4; i++) await drain();
    expect(await Promise.all([sent, second])).toEqual([{ $artifact: 0 }, { $artifact: 1 }]);
    expect(kinds()).toEqual(["artifact", "chunk", "chunk", "progress", "log", "artifact", "chunk"]);
  });
});

describe("a streamed file", () => {
  const streamed = (parts: Uint8Array[]) => {
    let reads = 0;
    return {
      bytes: parts.reduce((sum, { length }) => sum + length, 0),
      async *read() {
        reads++;
        yield* parts;
      },
      reads: () => reads,
    };
  };

  it("is announced with its digest, and sent in chunks no faster than they are taken", async () => {
    const content = streamed([new Uint8Array(CHUNK_BYTES_MAX + 5).fill(1), new Uint8Array(7).fill(2)]);
    const { emit, events, drain, kinds } = emitting({ accepts: () => false });
    const sent = emit.streamedArtifact({ contentType: "a/b", fileName: "a" }, content);
    for (let i = 0; i < 3; i++) await drain();
    expect(kinds()).toEqual(["artifact", "chunk", "chunk", "chunk"]);
    await drain();
    expect(await sent).toEqual({ $artifact: 0 });
    const bytes = Buffer.concat(events.flatMap(({ chunk }) => (chunk ? [chunk.data] : [])));
    expect(events[0]?.artifact).toMatchObject({
      bytes: bytes.length,
      sha256: createHash("sha256").update(bytes).digest("hex"),
    });
    expect(content.reads()).toBe(2);
  });

  it("is no longer produced when the run is cancelled", async () => {
    const controller = new AbortController();
    let produced = 0;
    const endless = {
      bytes: 1,
      async *read() {
        for (;;) {
          if (++produced === 3) controller.abort(new Error("cancelled"));
          yield new Uint8Array(1);
        }
      },
    };
    const { emit } = emitting({ signal: controller.signal });
    await expect(emit.streamedArtifact({ contentType: "a/b", fileName: "a" }, endless)).rejects.toThrow(
      "cancelled",
    );
    expect(produced).toBe(3);
  });
});

describe("checkpoints", () => {
  it("are requested when enough steps have passed, and hold the state", () => {
    const { emit, events } = emitting({ checkpoints: checkpoints({ everySteps: 2, everySeconds: 0 }) });
    const requested = vi.fn(state);
    for (let step = 1; step <= 5; step++) emit.checkpoint?.(step, requested);
    expect(requested).toHaveBeenCalledTimes(2);
    expect(events.flatMap(({ checkpoint }) => (checkpoint ? [checkpoint.step] : []))).toEqual([2, 4]);
    const [head, chunk] = events;
    expect(chunk?.checkpointChunk?.data.length).toBe(head?.checkpoint?.bytes);
    expect(decodeCheckpoint(Buffer.from(chunk?.checkpointChunk?.data ?? []), owner)).toMatchObject({
      step: 2,
      tensors: [Float32Array.of(1)],
    });
  });

  it("are requested when enough time has passed, and never when both intervals are 0", () => {
    const past = { ...checkpoints({ everySteps: 0, everySeconds: 10 }), sinceMs: performance.now() - 9_000 };
    const soon = emitting({ checkpoints: past });
    soon.emit.checkpoint?.(1, state);
    expect(soon.events).toEqual([]);
    const due = emitting({ checkpoints: { ...past, sinceMs: performance.now() - 10_001 } });
    due.emit.checkpoint?.(1, state);
    due.emit.checkpoint?.(2, state);
    expect(due.kinds()).toEqual(["checkpoint", "checkpointChunk"]);
    const never = emitting({
      checkpoints: { ...past, policy: { everySteps: 0, everySeconds: 0 }, sinceMs: 0 },
    });
    never.emit.checkpoint?.(100, state);
    expect(never.events).toEqual([]);
  });

  it("are sent in chunks, and none is made while the last one is on its way", async () => {
    const { emit, events, drain } = emitting({
      accepts: () => false,
      checkpoints: checkpoints({ everySteps: 1, everySeconds: 0 }),
    });
    const large = () => ({ values: {}, tensors: [new Float32Array(CHUNK_BYTES_MAX / 2)] });
    emit.checkpoint?.(1, large);
    emit.checkpoint?.(2, large);
    expect(events.filter(({ checkpoint }) => checkpoint)).toHaveLength(1);
    const chunks = events.flatMap(({ checkpointChunk }) =>
      checkpointChunk ? [checkpointChunk.data.length] : [],
    );
    expect(Math.max(...chunks)).toBe(CHUNK_BYTES_MAX);
    expect(chunks.reduce((sum, bytes) => sum + bytes, 0)).toBe(events[0]?.checkpoint?.bytes);
    await drain();
    emit.checkpoint?.(3, large);
    expect(events.filter(({ checkpoint }) => checkpoint)).toHaveLength(2);
  });

  it("are absent when the caller stores none", () => {
    expect(emitting().emit.checkpoint).toBeUndefined();
  });
});

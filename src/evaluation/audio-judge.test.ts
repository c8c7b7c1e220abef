import { describe, expect, it } from "vitest";
import { type AudibleClip, drawAudibleClip } from "./audible-clip.ts";
import { audioOnsets, isInStep } from "./audio-judge.ts";

const RATE = 16_000;

/** Makes a decaying tone at each event, over a little noise. */
function tonesAt(events: number[], seconds = 4, decay = 20): Float32Array {
  const samples = Float32Array.from({ length: seconds * RATE }, (_, i) => 2e-4 * Math.sin(i * i));
  for (const event of events) {
    for (let i = 0; i < RATE / 2; i++) {
      const index = Math.round(event * RATE) + i;
      if (index < samples.length)
        samples[index] =
          (samples[index] ?? 0) +
          0.6 * Math.sin((2 * Math.PI * 660 * i) / RATE) * Math.exp((-decay * i) / RATE);
    }
  }
  return samples;
}

describe("audioOnsets", () => {
  it("finds the beginning of each tone", () => {
    const events = [0.31, 0.9, 1.62, 3.205];
    const heard = audioOnsets(tonesAt(events), RATE);
    expect(heard).toHaveLength(4);
    heard.forEach((seconds, i) => {
      expect(Math.abs(seconds - (events[i] ?? 0))).toBeLessThanOrEqual(0.011);
    });
  });
  it("finds nothing in silence and in steady noise, and an onset at the start", () => {
    expect(audioOnsets(tonesAt([]), RATE)).toEqual([]);
    expect(audioOnsets(new Float32Array(0), RATE)).toEqual([]);
    expect(
      audioOnsets(
        Float32Array.from({ length: RATE }, (_, i) => 0.2 * Math.sin(i)),
        RATE,
      ),
    ).toEqual([0]);
  });
});

describe("isInStep", () => {
  it("requires every event within a tenth of a second, and nothing else", () => {
    expect(isInStep([0.5, 1.02], [0.55, 1])).toBe(true);
    expect(isInStep([1.02, 0.5], [0.55, 1])).toBe(true);
    expect(isInStep([], [])).toBe(true);
    expect(isInStep([0.5], [0.61])).toBe(false);
    expect(isInStep([0.5, 1], [0.5])).toBe(false);
    expect(isInStep([], [0.5])).toBe(false);
  });
});

describe("drawAudibleClip", () => {
  const clip: AudibleClip = {
    action: "bounce",
    shape: "circle",
    color: "red",
    background: "white",
    seconds: 2,
    fps: 20,
    width: 64,
    height: 48,
    radius: 0.2,
    along: 0.5,
    events: [0.5, 1.5],
    before: 0.5,
    longest: 1,
  };
  /** Finds the centre of the pixels that are not white; undefined when all are white. */
  const centre = (frame: Uint8Array | undefined, { width }: AudibleClip = clip) => {
    let [sx, sy, n] = [0, 0, 0];
    for (let i = 0; i < (frame?.length ?? 0) / 3; i++) {
      if ((frame?.[i * 3 + 1] ?? 255) > 140) continue;
      [sx, sy, n] = [sx + (i % width) + 0.5, sy + Math.floor(i / width) + 0.5, n + 1];
    }
    return n > 0 ? { x: sx / n, y: sy / n } : undefined;
  };
  it("draws bounces: on the floor at each event, at the ceiling between distant events", () => {
    const frames = drawAudibleClip(clip);
    expect(frames).toHaveLength(40);
    const radius = 0.2 * 48;
    for (const k of [10, 30, 39]) expect(centre(frames[k])?.y).toBeCloseTo(48 - radius, 0);
    expect(centre(frames[20])?.y).toBeCloseTo(radius, 0);
    expect(centre(frames[20])?.x).toBeCloseTo(32, 0);
  });
  it("draws runs between walls: at the right wall at the first event, at the left at the second", () => {
    const frames = drawAudibleClip({ ...clip, action: "walls" });
    const radius = 0.2 * 48;
    expect(centre(frames[10])?.x).toBeCloseTo(64 - radius, 0);
    expect(centre(frames[20])?.x).toBeCloseTo(32, 0);
    expect(centre(frames[30])?.x).toBeCloseTo(radius, 0);
  });
  it("draws flashes: invisible before, visible at the event, invisible again", () => {
    const frames = drawAudibleClip({ ...clip, action: "blink", before: 0.1, longest: 0.3 });
    expect([0, 1, 2, 9, 10, 15, 16, 30].map((k) => centre(frames[k]) !== undefined)).toEqual([
      true,
      true,
      false,
      false,
      true,
      true,
      false,
      true,
    ]);
  });
});

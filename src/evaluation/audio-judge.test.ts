import { describe, expect, it } from "vitest";
import { isInStep, soundOnsets } from "./audio-judge.ts";
import { drawSoundingClip, type SoundingClip } from "./audible-clip.ts";

const RATE = 16_000;

/** A sound that dies away, at each moment, over a little noise. */
function sounding(events: number[], seconds = 4, decay = 20): Float32Array {
  const samples = Float32Array.from({ length: seconds * RATE }, (_, i) => 2e-4 * Math.sin(i * i));
  for (const event of events) {
    for (let i = 0; i < RATE / 2; i++) {
      const at = Math.round(event * RATE) + i;
      if (at < samples.length)
        samples[at] =
          (samples[at] ?? 0) + 0.6 * Math.sin((2 * Math.PI * 660 * i) / RATE) * Math.exp((-decay * i) / RATE);
    }
  }
  return samples;
}

describe("soundOnsets", () => {
  it("hears each sound when it begins", () => {
    const events = [0.31, 0.9, 1.62, 3.205];
    const heard = soundOnsets(sounding(events), RATE);
    expect(heard).toHaveLength(4);
    heard.forEach((at, i) => {
      expect(Math.abs(at - (events[i] ?? 0))).toBeLessThanOrEqual(0.011);
    });
  });
  it("hears nothing in silence and in steady noise, and one that begins at once", () => {
    expect(soundOnsets(sounding([]), RATE)).toEqual([]);
    expect(soundOnsets(new Float32Array(0), RATE)).toEqual([]);
    expect(
      soundOnsets(
        Float32Array.from({ length: RATE }, (_, i) => 0.2 * Math.sin(i)),
        RATE,
      ),
    ).toEqual([0]);
  });
});

describe("isInStep", () => {
  it("wants every event within a tenth of a second, and nothing else", () => {
    expect(isInStep([0.5, 1.02], [0.55, 1])).toBe(true);
    expect(isInStep([1.02, 0.5], [0.55, 1])).toBe(true);
    expect(isInStep([], [])).toBe(true);
    expect(isInStep([0.5], [0.61])).toBe(false);
    expect(isInStep([0.5, 1], [0.5])).toBe(false);
    expect(isInStep([], [0.5])).toBe(false);
  });
});

describe("drawSoundingClip", () => {
  const clip: SoundingClip = {
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
  /** Centre of what is not white, in pixels; undefined when all is. */
  const centre = (frame: Uint8Array | undefined, { width }: SoundingClip = clip) => {
    let [sx, sy, n] = [0, 0, 0];
    for (let i = 0; i < (frame?.length ?? 0) / 3; i++) {
      if ((frame?.[i * 3 + 1] ?? 255) > 140) continue;
      [sx, sy, n] = [sx + (i % width) + 0.5, sy + Math.floor(i / width) + 0.5, n + 1];
    }
    return n > 0 ? { x: sx / n, y: sy / n } : undefined;
  };
  it("bounces: on the floor at each event, at the ceiling between far ones", () => {
    const frames = drawSoundingClip(clip);
    expect(frames).toHaveLength(40);
    const radius = 0.2 * 48;
    for (const k of [10, 30, 39]) expect(centre(frames[k])?.y).toBeCloseTo(48 - radius, 0);
    expect(centre(frames[20])?.y).toBeCloseTo(radius, 0);
    expect(centre(frames[20])?.x).toBeCloseTo(32, 0);
  });
  it("runs between the walls: at the right one at the first event, at the left one at the second", () => {
    const frames = drawSoundingClip({ ...clip, action: "walls" });
    const radius = 0.2 * 48;
    expect(centre(frames[10])?.x).toBeCloseTo(64 - radius, 0);
    expect(centre(frames[20])?.x).toBeCloseTo(32, 0);
    expect(centre(frames[30])?.x).toBeCloseTo(radius, 0);
  });
  it("flashes: not there before, there at the event, gone again", () => {
    const frames = drawSoundingClip({ ...clip, action: "blink", before: 0.1, longest: 0.3 });
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

import { writeFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { addSound } from "./add-audio.ts";
import { type TestClip, testClip } from "./clip.fixture.ts";
import { type DecodedClip, decodeClip } from "./decode-clip.ts";
import { measureClip } from "./measure-clip.ts";
import { openClip } from "./open-clip.ts";
import { sampleClip } from "./sample-clip.ts";

const signal = new AbortController().signal;
const sampleRate = 16_000;

/** Silence, then a tone from `onset` on. */
const tone = (seconds: number, onset: number) =>
  Float32Array.from({ length: seconds * sampleRate }, (_, i) =>
    i / sampleRate < onset ? 0 : 0.5 * Math.sin((2 * Math.PI * 440 * i) / sampleRate),
  );

async function sounding(change: Partial<TestClip>, seconds: number) {
  await using clip = await testClip(change);
  const { isLonger, hidesFrames } = await measureClip(clip.path, "video_url", seconds, signal);
  const samples = tone(seconds, seconds / 2);
  const how = { field: "video_url", seconds, isCut: isLonger, hidesFrames, sampleRate, threads: 1, signal };
  const made = await addSound({ path: clip.path, samples, ...how });
  const path = `${clip.path}-with-sound.mp4`;
  await writeFile(path, made.bytes);
  return {
    ...made,
    before: await decodeClip(clip.path),
    after: await decodeClip(path),
    facts: await measureClip(path, "video_url", 60, signal),
    pixelShape: await pixelShapeOf(path),
  };
}

async function pixelShapeOf(path: string): Promise<number> {
  await using clip = await openClip(path, "video_url");
  const { num, den } = clip.stream.codecpar.sampleAspectRatio;
  return num / den;
}

const sameFrames = (one: DecodedClip, other: DecodedClip): boolean =>
  Buffer.concat(one.frames).equals(Buffer.concat(other.frames));

describe("addSound", () => {
  it("copies an H.264 picture as it is, and the sound begins where it should", async () => {
    const { isCopied, before, after, facts } = await sounding({}, 2);
    expect(isCopied).toBe(true);
    expect(sameFrames(after, before)).toBe(true);
    expect(after.timesSeconds).toEqual(before.timesSeconds);
    expect(after.codecs).toEqual(["avc1", "mp4a"]);
    expect(facts.seconds).toBeCloseTo(2, 3);
    expect(after.sound?.sampleRate).toBe(sampleRate);
    const onset = after.sound?.samples.findIndex((value) => Math.abs(value) > 0.2) ?? 0;
    expect(Math.abs(onset / sampleRate - 1)).toBeLessThan(0.01);
    expect((after.sound?.samples.length ?? 0) / sampleRate).toBeCloseTo(2, 1);
  });

  it("copies a picture with frames that lean on later ones when all of it is kept, and encodes it again when it is cut", async () => {
    const whole = await sounding({ bFrames: 2 }, 2);
    expect(whole.isCopied).toBe(true);
    expect(sameFrames(whole.after, whole.before)).toBe(true);
    const cut = await sounding({ bFrames: 2 }, 1);
    expect(cut.isCopied).toBe(false);
    expect(cut.after.frames).toHaveLength(12);
  });

  it("begins where a clip is shown from, not with frames that were cut away and are still in the file", async () => {
    const { isCopied, before, after, facts } = await sounding({ hidden: 6 }, 1.5);
    expect(before.frames).toHaveLength(18);
    expect(isCopied).toBe(false);
    expect(after.frames).toHaveLength(18);
    expect(facts).toMatchObject({ seconds: expect.closeTo(1.5, 3), isLonger: false });
  });

  it.each([["mp4"], ["matroska"]] as const)(
    "leaves pixels that are not square as they are (%s)",
    async (container) => {
      const { pixelShape } = await sounding({ container, pixelShape: { num: 16, den: 11 } }, 2);
      expect(pixelShape).toBeCloseTo(16 / 11, 3);
    },
  );

  it("cuts what is longer", async () => {
    const { isCopied, after, facts } = await sounding({}, 1);
    expect(isCopied).toBe(true);
    expect(after.frames).toHaveLength(12);
    expect(facts.seconds).toBeCloseTo(1, 2);
  });

  it.each([
    ["webm", "libvpx-vp9"],
    ["avi", "mpeg4"],
    ["matroska", "libx264"],
  ] as const)("encodes a picture from %s (%s) again, frame for frame", async (container, encoder) => {
    const { isCopied, before, after } = await sounding({ container, encoder }, 2);
    expect(isCopied).toBe(false);
    expect(after.codecs).toEqual(["avc1", "mp4a"]);
    expect(after.frames).toHaveLength(before.frames.length);
    after.timesSeconds.forEach((at, i) => {
      expect(at).toBeCloseTo(before.timesSeconds[i] ?? 0, 2);
    });
  });
});

describe("sampleClip", () => {
  it("takes what is shown at each moment, squashed, and holds the last frame", async () => {
    await using clip = await testClip({ frames: 24, fps: 12 });
    const [count, side] = [20, 16];
    const pixels = await sampleClip(clip.path, "video_url", { rate: 8, count, side, threads: 1, signal });
    expect(pixels.length).toBe(3 * count * side * side);
    /** Where the red is, as a share of the width. */
    const centre = (k: number) => {
      let [sum, weight] = [0, 0];
      for (let i = 0; i < side * side; i++) {
        const red = Math.max(0, pixels[k * side * side + i] ?? 0);
        sum += red * ((i % side) + 0.5);
        weight += red;
      }
      return sum / weight / side;
    };
    const shown = (k: number) => Math.min(23, Math.floor((k / 8) * 12 + 1e-9)) / 23;
    for (let k = 0; k < count; k++) expect(centre(k)).toBeCloseTo((16 + shown(k) * 64) / 96, 1);
    // The clip ends after two seconds.
    expect(centre(17)).toBe(centre(19));
  });
});

import { writeFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { addAudio } from "./add-audio.ts";
import { type TestClip, testClip } from "./clip.fixture.ts";
import { type DecodedClip, decodeClip } from "./decode-clip.ts";
import { measureClip } from "./measure-clip.ts";
import { openClip } from "./open-clip.ts";
import { sampleClip } from "./sample-clip.ts";

const signal = new AbortController().signal;
const sampleRate = 16_000;

/** Makes silence, then a tone from `onset` on; both in seconds. */
const tone = (seconds: number, onset: number) =>
  Float32Array.from({ length: seconds * sampleRate }, (_, i) =>
    i / sampleRate < onset ? 0 : 0.5 * Math.sin((2 * Math.PI * 440 * i) / sampleRate),
  );

async function withTone(change: Partial<TestClip>, seconds: number) {
  await using clip = await testClip(change);
  const { isLonger, hidesFrames } = await measureClip(clip.path, "video_url", seconds, signal);
  const samples = tone(seconds, seconds / 2);
  const options = {
    field: "video_url",
    seconds,
    isCut: isLonger,
    hidesFrames,
    sampleRate,
    threads: 1,
    signal,
  };
  const made = await addAudio({ path: clip.path, samples, ...options });
  const path = `${clip.path}-with-audio.mp4`;
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

describe("addAudio", () => {
  it("copies an H.264 video unchanged, and the audio begins at the right time", async () => {
    const { isCopied, before, after, facts } = await withTone({}, 2);
    expect(isCopied).toBe(true);
    expect(sameFrames(after, before)).toBe(true);
    expect(after.timesSeconds).toEqual(before.timesSeconds);
    expect(after.codecs).toEqual(["avc1", "mp4a"]);
    expect(facts.seconds).toBeCloseTo(2, 3);
    expect(after.audio?.sampleRate).toBe(sampleRate);
    const onset = after.audio?.samples.findIndex((value) => Math.abs(value) > 0.2) ?? 0;
    expect(Math.abs(onset / sampleRate - 1)).toBeLessThan(0.01);
    expect((after.audio?.samples.length ?? 0) / sampleRate).toBeCloseTo(2, 1);
  });

  it("copies a video with B-frames when all of it is kept, and encodes it again when it is cut", async () => {
    const whole = await withTone({ bFrames: 2 }, 2);
    expect(whole.isCopied).toBe(true);
    expect(sameFrames(whole.after, whole.before)).toBe(true);
    const cut = await withTone({ bFrames: 2 }, 1);
    expect(cut.isCopied).toBe(false);
    expect(cut.after.frames).toHaveLength(12);
  });

  it("begins with the first frame that is shown, not with hidden frames of the file", async () => {
    const { isCopied, before, after, facts } = await withTone({ hidden: 6 }, 1.5);
    expect(before.frames).toHaveLength(18);
    expect(isCopied).toBe(false);
    expect(after.frames).toHaveLength(18);
    expect(facts).toMatchObject({ seconds: expect.closeTo(1.5, 3), isLonger: false });
  });

  it.each([["mp4"], ["matroska"]] as const)(
    "keeps the shape of pixels that are not square (%s)",
    async (container) => {
      const { pixelShape } = await withTone({ container, pixelShape: { num: 16, den: 11 } }, 2);
      expect(pixelShape).toBeCloseTo(16 / 11, 3);
    },
  );

  it("cuts a longer clip", async () => {
    const { isCopied, after, facts } = await withTone({}, 1);
    expect(isCopied).toBe(true);
    expect(after.frames).toHaveLength(12);
    expect(facts.seconds).toBeCloseTo(1, 2);
  });

  it.each([
    ["webm", "libvpx-vp9"],
    ["avi", "mpeg4"],
    ["matroska", "libx264"],
  ] as const)("encodes a video from %s (%s) again, frame for frame", async (container, encoder) => {
    const { isCopied, before, after } = await withTone({ container, encoder }, 2);
    expect(isCopied).toBe(false);
    expect(after.codecs).toEqual(["avc1", "mp4a"]);
    expect(after.frames).toHaveLength(before.frames.length);
    after.timesSeconds.forEach((at, i) => {
      expect(at).toBeCloseTo(before.timesSeconds[i] ?? 0, 2);
    });
  });
});

describe("sampleClip", () => {
  it("samples the frame that is visible at each time, squashed, and repeats the last one", async () => {
    await using clip = await testClip({ frames: 24, fps: 12 });
    const [count, side] = [20, 16];
    const pixels = await sampleClip(clip.path, "video_url", { rate: 8, count, side, threads: 1, signal });
    expect(pixels.length).toBe(3 * count * side * side);
    /** Position of the red disc, as a share of the width. */
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

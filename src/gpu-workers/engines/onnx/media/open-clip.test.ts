import { readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { LIMITS } from "../../../../core/limits.ts";
import { testClip } from "./clip.fixture.ts";
import { measureClip } from "./measure-clip.ts";
import { sampleClip } from "./sample-clip.ts";

const signal = new AbortController().signal;
const measure = (path: string) => measureClip(path, "video_url", 30, signal);
const refused = (type: string, ctx: object) => ({
  faults: [{ loc: ["body", "video_url"], type, ctx: expect.objectContaining(ctx) }],
});
const UNSUPPORTED = refused("unsupported_video_format", {
  supported_formats: expect.arrayContaining([".mp4", ".webm"]),
});

describe("a clip that cannot be used is refused", () => {
  it("when it is a text file, an empty file or an image", async () => {
    await using clip = await testClip();
    for (const bytes of [
      Buffer.from("no video at all"),
      Buffer.alloc(0),
      await sharp({ create: { width: 64, height: 64, channels: 3, background: "red" } })
        .png()
        .toBuffer(),
    ]) {
      await writeFile(clip.path, bytes);
      await expect(measure(clip.path)).rejects.toMatchObject({ code: "input_invalid", ...UNSUPPORTED });
    }
  });

  it("when it is a playlist, which would make this machine fetch other files", async () => {
    await using clip = await testClip();
    const path = join(clip.folder, "list.m3u8");
    await writeFile(
      path,
      `#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile:${clip.path}\n#EXT-X-ENDLIST\n`,
    );
    await expect(measure(path)).rejects.toMatchObject(UNSUPPORTED);
    const concat = join(clip.folder, "list.txt");
    await writeFile(concat, `ffconcat version 1.0\nfile ${clip.path}\n`);
    await expect(measure(concat)).rejects.toMatchObject(UNSUPPORTED);
  });

  it("when it has no frames", async () => {
    await using clip = await testClip({ frames: 0 });
    await expect(measure(clip.path)).rejects.toMatchObject({
      code: "input_invalid",
      faults: [
        {
          loc: ["body", "video_url"],
          type: expect.stringMatching(/^(video_duration_too_short|unsupported_video_format)$/),
        },
      ],
    });
  });

  it("when it is too short, with its length", async () => {
    await using clip = await testClip({ frames: 1, fps: 50 });
    await expect(measure(clip.path)).rejects.toMatchObject(
      refused("video_duration_too_short", {
        min_duration: LIMITS.clipSecondsMin,
        provided_duration: expect.closeTo(0.02, 3),
      }),
    );
  });

  it("when it has too many pixels, frames or bytes", async () => {
    await using large = await testClip({
      frames: 2,
      size: { width: 4098, height: 2304 },
      encoder: "mpeg4",
      container: "avi",
    });
    await expect(measure(large.path)).rejects.toMatchObject(UNSUPPORTED);
    await using many = await testClip({
      frames: 1,
      copies: LIMITS.clipFramesMax + 1,
      fps: 1000,
      encoder: "mpeg4",
      container: "avi",
    });
    await expect(measure(many.path)).rejects.toMatchObject(UNSUPPORTED);
    // A sparse file: nothing is written.
    await truncate(many.path, LIMITS.clipBytesMax + 1);
    await expect(measure(many.path)).rejects.toMatchObject({
      code: "file_too_large",
      ...refused("file_too_large", { max_size: LIMITS.clipBytesMax }),
    });
  });

  it("but not when it is truncated: it is used as far as it goes", async () => {
    await using clip = await testClip({ container: "matroska", frames: 48 });
    const bytes = await readFile(clip.path);
    await writeFile(clip.path, bytes.subarray(0, Math.floor(bytes.length * 0.6)));
    const { seconds } = await measure(clip.path);
    expect(seconds).toBeGreaterThan(0.5);
    expect(seconds).toBeLessThan(4);
  });

  it("when none of its frames can be decoded", async () => {
    await using clip = await testClip();
    const bytes = await readFile(clip.path);
    const data = bytes.indexOf("mdat") + 4;
    await writeFile(clip.path, bytes.fill(0, data, data - 8 + bytes.readUInt32BE(data - 8)));
    const sampling = { rate: 8, count: 8, side: 16, threads: 1, signal };
    await expect(sampleClip(clip.path, "video_url", sampling)).rejects.toMatchObject(UNSUPPORTED);
  });
});

describe("measureClip", () => {
  it("measures by the packets, and reads no further than it must", async () => {
    await using clip = await testClip({ frames: 36, fps: 12, bFrames: 2 });
    expect(await measure(clip.path)).toEqual({
      size: { width: 96, height: 64 },
      seconds: expect.closeTo(3, 3),
      isLonger: false,
      hidesFrames: false,
    });
    expect(await measureClip(clip.path, "video_url", 1, signal)).toMatchObject({
      seconds: 1,
      isLonger: true,
    });
    expect(await measureClip(clip.path, "video_url", 2.8, signal)).toMatchObject({
      seconds: expect.closeTo(3, 3),
      isLonger: true,
    });
    await using cut = await testClip({ frames: 36, fps: 12, hidden: 6 });
    expect(await measure(cut.path)).toMatchObject({ seconds: expect.closeTo(2.5, 3), hidesFrames: true });
  });
});

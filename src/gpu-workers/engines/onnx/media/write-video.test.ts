import { writeFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { BLUE, discImage, discVideo, RED } from "./clip.fixture.ts";
import { decodeClip } from "./decode-clip.ts";
import { temporaryFile } from "./ffmpeg.ts";
import { coverSize, type VideoToWrite, writeVideo } from "./write-video.ts";

const from = { width: 64, height: 36 };
const write = (change: Partial<VideoToWrite> = {}) =>
  writeVideo({
    frames: discVideo(from, 9),
    from,
    size: { width: 320, height: 180 },
    fps: 16,
    quality: "high",
    writeMode: "balanced",
    threads: 2,
    signal: new AbortController().signal,
    ...change,
  });

async function decoded(bytes: Buffer) {
  await using file = await temporaryFile("video.mp4");
  await writeFile(file.path, bytes);
  return await decodeClip(file.path);
}

/** Lists the names of the boxes of an MP4 file. */
function boxes(bytes: Buffer): string[] {
  const names: string[] = [];
  for (let at = 0; at < bytes.length; at += bytes.readUInt32BE(at))
    names.push(bytes.toString("latin1", at + 4, at + 8));
  return names;
}

describe("writeVideo", () => {
  it("writes the requested frames, rate and size, with the index first", async () => {
    const bytes = await write();
    const clip = await decoded(bytes);
    expect(clip).toMatchObject({ width: 320, height: 180, fps: 16, codecs: ["avc1"] });
    expect(clip.timesSeconds).toEqual(Array.from({ length: 9 }, (_, i) => i / 16));
    expect(boxes(bytes).indexOf("moov")).toBeLessThan(boxes(bytes).indexOf("mdat"));
    // avcC: profile High (100), which is 4:2:0; High 4:4:4 would be 244.
    expect(bytes[bytes.indexOf("avcC") + 5]).toBe(100);
  });

  it("keeps colours and positions", async () => {
    const { frames } = await decoded(await write({ quality: "maximum" }));
    const at = (frame: Buffer | undefined, x: number, y: number) => [
      ...(frame?.subarray((y * 320 + x) * 3, (y * 320 + x) * 3 + 3) ?? []),
    ];
    const near = (found: number[], wanted: readonly number[]) =>
      found.every((value, i) => Math.abs(value - (wanted[i] ?? 0)) <= 4);
    expect(near(at(frames[0], 45, 90), RED)).toBe(true);
    expect(near(at(frames[0], 280, 90), BLUE)).toBe(true);
    expect(near(at(frames[8], 45, 90), BLUE)).toBe(true);
    expect(near(at(frames[8], 275, 90), RED)).toBe(true);
  });

  it("gives the same bytes for the same frames, and smaller files for less quality", async () => {
    expect((await write()).equals(await write())).toBe(true);
    expect((await write({ quality: "low" })).length).toBeLessThan(
      (await write({ quality: "maximum" })).length,
    );
    for (const writeMode of ["fast", "small"] as const)
      expect((await decoded(await write({ writeMode }))).frames).toHaveLength(9);
  });

  it("covers another shape and keeps the middle", async () => {
    const square = { width: 90, height: 90 };
    const { frames, width, height } = await decoded(
      await write({ frames: [discImage(from, 0.5)], size: square }),
    );
    expect([width, height]).toEqual([90, 90]);
    const red = (x: number, y: number) => (frames[0]?.[(y * 90 + x) * 3] ?? 0) > 150;
    expect([red(45, 45), red(45, 30), red(10, 45), red(80, 45)]).toEqual([true, true, false, false]);
    expect(coverSize({ width: 64, height: 36 }, { width: 1032, height: 580 })).toEqual({
      width: 1032,
      height: 580,
    });
    expect(coverSize({ width: 64, height: 64 }, { width: 320, height: 180 })).toEqual({
      width: 320,
      height: 320,
    });
  });

  it.each([[{ width: 854, height: 480 }], [{ width: 1032, height: 580 }], [{ width: 46, height: 34 }]])(
    "fills every column of %j, whose rows are of no round length",
    async (size) => {
      const blue = Buffer.from(Array.from({ length: size.width * size.height }, () => BLUE).flat());
      const clip = await decoded(await write({ frames: [blue], from: size, size, quality: "maximum" }));
      const [frame] = clip.frames;
      expect(frame?.length).toBe(size.width * size.height * 3);
      const off = Array.from(frame ?? []).filter((value, i) => Math.abs(value - (BLUE[i % 3] ?? 0)) > 4);
      expect(off).toHaveLength(0);
    },
  );

  it("stops between two frames", async () => {
    const controller = new AbortController();
    const frames = (function* () {
      for (const frame of discVideo(from, 200)) {
        yield frame;
        controller.abort(new Error("cancelled"));
      }
    })();
    await expect(write({ frames, signal: controller.signal })).rejects.toThrow("cancelled");
  });
});

import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LIMITS } from "../../../../core/limits.ts";
import { HEIC } from "./heic.fixture.ts";
import { hugePng } from "./huge-png.fixture.ts";
import { readImage } from "./read-image.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-images-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function file(bytes: Buffer | string): Promise<string> {
  const path = join(folder, "0");
  await writeFile(path, bytes);
  return path;
}
const read = async (bytes: Buffer | string) => readImage(await file(bytes), "image_url");
const drawn = (width: number, height: number) =>
  sharp({ create: { width, height, channels: 3, background: { r: 255, g: 0, b: 51 } } });
const fault = (type: string, ctx?: object) => ({
  faults: [{ loc: ["body", "image_url"], type, ...(ctx && { ctx }) }],
});

describe("readImage", () => {
  it("gives the image in the requested size, covered and cropped around the middle", async () => {
    const left = await sharp({ create: { width: 50, height: 100, channels: 3, background: "#ffffff" } })
      .png()
      .toBuffer();
    const bytes = await sharp({ create: { width: 200, height: 100, channels: 3, background: "#000000" } })
      .composite([{ input: left, left: 0, top: 0 }])
      .png()
      .toBuffer();
    const image = await read(bytes);
    expect(image.size).toEqual({ width: 200, height: 100 });
    const wide = await image.fitted({ width: 40, height: 20 });
    expect([wide[0], wide[39], wide[800], wide[1600]]).toEqual([1, -1, 1, 1]);
    // The square in the middle begins where the white ends.
    const square = await image.fitted({ width: 20, height: 20 });
    expect(square[10]).toBe(-1);
    expect(square).toHaveLength(1200);
  });

  it("reads grey, transparent, rotated, CMYK and 16-bit images alike", async () => {
    const grey = await (await read(await drawn(8, 8).greyscale().png().toBuffer())).fitted({
      width: 8,
      height: 8,
    });
    expect(grey[0]).toBe(grey[64]);
    const clear = sharp({
      create: { width: 8, height: 8, channels: 4, background: { r: 0, g: 0, b: 0, alpha: 0 } },
    });
    expect((await (await read(await clear.webp().toBuffer())).fitted({ width: 4, height: 4 }))[0]).toBe(1);
    const rotated = await read(await drawn(30, 10).jpeg().withMetadata({ orientation: 6 }).toBuffer());
    expect(rotated.size).toEqual({ width: 10, height: 30 });
    const cmyk = await read(await drawn(8, 8).toColourspace("cmyk").jpeg().toBuffer());
    expect((await cmyk.fitted({ width: 8, height: 8 })).length).toBe(192);
    const deep = await read(await drawn(8, 8).toColourspace("rgb16").png().toBuffer());
    expect((await deep.fitted({ width: 8, height: 8 }))[0]).toBeCloseTo(1, 1);
  });

  it("answers image_load_error for a text file, an empty one, a zip and half a PNG", async () => {
    for (const bytes of ["just text", "", Buffer.concat([Buffer.from("PK\x03\x04"), Buffer.alloc(5000)])]) {
      await expect(read(bytes)).rejects.toMatchObject({
        code: "input_invalid",
        ...fault("image_load_error"),
      });
    }
    const noise = Buffer.from(Array.from({ length: 300 * 300 * 3 }, (_, i) => (i * 7919) % 251));
    const whole = await sharp(noise, { raw: { width: 300, height: 300, channels: 3 } })
      .png()
      .toBuffer();
    const half = await read(whole.subarray(0, whole.length >> 1));
    await expect(half.fitted({ width: 64, height: 64 })).rejects.toMatchObject(fault("image_load_error"));
  });

  it("answers unsupported_image_format for an SVG, which is a program", async () => {
    const svg =
      '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><image href="file:///etc/passwd"/></svg>';
    await expect(read(svg)).rejects.toMatchObject(
      fault("unsupported_image_format", { supported_formats: expect.arrayContaining([".png"]) }),
    );
  });

  it.each(["jpeg", "png", "webp", "gif", "tiff", "avif"] as const)("reads %s", async (format) => {
    const image = await read(await drawn(16, 8).toFormat(format).toBuffer());
    expect(image.size).toEqual({ width: 16, height: 8 });
    expect((await image.fitted({ width: 4, height: 4 }))[0]).toBeGreaterThan(0.9);
  });

  const box = (type: string, content: string): Buffer => {
    const bytes = Buffer.from(`\0\0\0\0${type}${content}`, "latin1");
    bytes.writeUInt32BE(bytes.length);
    return bytes;
  };
  it.each([
    ["HEIC", HEIC],
    ["HEIC", HEIC.subarray(0, 100)],
    ["HEIC", Buffer.concat([box("ftyp", "mif1\0\0\0\0mif1heic"), Buffer.alloc(64, 0xff)])],
    ["BMP", Buffer.from("BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01", "latin1")],
    ["ICO", Buffer.from("\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0", "latin1")],
    ["JPEG XL", Buffer.from("\xff\x0a\xfa\x1f", "latin1")],
    ["JPEG XL", box("JXL ", "\r\n\x87\n")],
    ["JPEG 2000", box("jP  ", "\r\n\x87\n")],
    ["PSD", Buffer.from("8BPS\0\x01\0\0", "latin1")],
    ["PDF", Buffer.from("%PDF-1.7\n")],
    ["SVG", Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>')],
    ["MP4", box("ftyp", "isom\0\0\x02\0isomavc1")],
    ["WebM", Buffer.from("\x1a\x45\xdf\xa3\x9f\x42\x86\x81", "latin1")],
  ])("answers unsupported_image_format, with those that are read, for %s", async (name, bytes) => {
    await expect(read(bytes)).rejects.toMatchObject({
      message: expect.stringContaining(name),
      ...fault("unsupported_image_format", { supported_formats: expect.arrayContaining([".png", ".avif"]) }),
    });
  });

  it("answers image_load_error for a damaged file of a format that it reads", async () => {
    for (const format of ["jpeg", "png", "webp", "gif", "tiff", "avif"] as const) {
      const whole = await drawn(64, 64).toFormat(format).toBuffer();
      const broken = Buffer.concat([whole.subarray(0, 32), Buffer.alloc(200, 0x7f)]);
      const reading = read(broken).then((image) => image.fitted({ width: 8, height: 8 }));
      await expect(reading, format).rejects.toMatchObject(fault("image_load_error"));
    }
  });

  it("answers image_too_large for a PNG of 30,000 x 30,000 pixels, without unpacking it", async () => {
    const bytes = hugePng(30_000);
    expect(bytes.length).toBeLessThan(1e6);
    const before = process.memoryUsage.rss();
    await expect(read(bytes)).rejects.toMatchObject({
      code: "input_invalid",
      ...fault("image_too_large", { max_height: 8000, max_width: 8000 }),
    });
    expect(process.memoryUsage.rss() - before).toBeLessThan(64 * 2 ** 20);
    expect((await read(hugePng(64))).size).toEqual({ width: 64, height: 64 });
  });

  it("answers file_too_large for more bytes than an image may have", async () => {
    const path = await file("x");
    await truncate(path, LIMITS.imageBytesMax + 1);
    await expect(readImage(path, "image_url")).rejects.toMatchObject({
      code: "file_too_large",
      ...fault("file_too_large", { max_size: LIMITS.imageBytesMax }),
    });
  });
});

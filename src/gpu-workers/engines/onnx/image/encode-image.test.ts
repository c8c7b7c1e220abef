import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { encodeImage, toRgb } from "./encode-image.ts";

/** 8 × 4 pixels: the left half red, the right half green, the last column blue. */
const pixels = toRgb(
  Float32Array.from({ length: 3 * 32 }, (_, i) => {
    const [channel, x] = [Math.floor(i / 32), i % 8];
    return channel === (x === 7 ? 2 : x < 4 ? 0 : 1) ? 1.5 : -1;
  }),
);
const from = { width: 8, height: 4 };
const rgb = async (file: Buffer) => [...(await sharp(file).removeAlpha().raw().toBuffer())];

describe("encodeImage", () => {
  it("keeps every pixel at the same size, values clamped to 0..255", async () => {
    const png = await encodeImage(pixels, from, from, "png");
    expect(await sharp(png).metadata()).toMatchObject({ format: "png", width: 8, height: 4, channels: 3 });
    expect((await rgb(png)).slice(0, 24)).toEqual(
      [...Array(4).fill([255, 0, 0]), ...Array(3).fill([0, 255, 0]), [0, 0, 255]].flat(),
    );
  });

  it("scales to cover the size and crops around the middle", async () => {
    const jpeg = await encodeImage(pixels, from, { width: 16, height: 16 }, "jpeg");
    expect(await sharp(jpeg).metadata()).toMatchObject({ format: "jpeg", width: 16, height: 16 });
    const middle = await rgb(await encodeImage(pixels, from, { width: 16, height: 16 }, "png"));
    expect(middle.slice(0, 3)).toEqual([255, 0, 0]);
    // The blue column lies outside the crop.
    expect(Math.max(...middle.filter((_, i) => i % 3 === 2))).toBeLessThan(128);
  });

  it("gives the same bytes for the same pixels", async () => {
    const [one, two] = await Promise.all(
      [1, 2].map(() => encodeImage(pixels, from, { width: 64, height: 48 }, "jpeg")),
    );
    expect(one?.equals(two ?? Buffer.alloc(0))).toBe(true);
  });
});

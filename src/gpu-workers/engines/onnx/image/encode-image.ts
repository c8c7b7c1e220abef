/** From a decoder's output to a file. */
import type { PictureSize } from "./image-size.ts";

export type PictureFormat = "png" | "jpeg";

/**
 * libvips is loaded with the first picture, or when there is nothing else to do: it takes longer than opening
 * a small model, and the first step can be done without it.
 *
 * @param threads that it may use
 */
export async function loadPictureEncoder(threads: number): Promise<void> {
  const { default: sharp } = await import("sharp");
  sharp.concurrency(threads);
  sharp.cache(false);
}

/** fal's jpegs are of about this quality; at 80 the edges of flat shapes fray visibly. */
const JPEG_QUALITY = 95;

/** zlib's level. Files of 6 are as large, and take half as long again. */
const PNG_LEVEL = 4;

/**
 * Encodes a picture, scaled to cover `size` and cropped around the middle when it is of another size. The
 * same pixels give the same bytes.
 *
 * @param rgb 8 bits each, row by row, of the size `from`
 */
export async function encodePicture(
  rgb: Buffer,
  from: PictureSize,
  size: PictureSize,
  format: PictureFormat,
): Promise<Buffer> {
  const { default: sharp } = await import("sharp");
  const picture = sharp(rgb, { raw: { ...from, channels: 3 }, limitInputPixels: false });
  const scaled =
    from.width === size.width && from.height === size.height
      ? picture
      : picture.resize({ ...size, fit: "cover", position: "centre", kernel: "lanczos3" });
  return (
    format === "png" ? scaled.png({ compressionLevel: PNG_LEVEL }) : scaled.jpeg({ quality: JPEG_QUALITY })
  ).toBuffer();
}

/**
 * A decoder's output as RGB, 8 bits each, row by row.
 *
 * @param planes float32 [3, height, width], -1..1
 */
export function toRgb(planes: Float32Array): Buffer {
  const count = planes.length / 3;
  // Rounds and clamps by itself, in a third of the time; the other runs wait meanwhile.
  const bytes = new Uint8ClampedArray(count * 3);
  for (let c = 0; c < 3; c++) {
    for (let i = 0, at = c, from = c * count; i < count; i++, at += 3)
      bytes[at] = ((planes[from + i] ?? 0) + 1) * 127.5;
  }
  return Buffer.from(bytes.buffer);
}

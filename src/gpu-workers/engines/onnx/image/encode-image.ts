/** Turns a decoder's output into an image file. */
import type { ImageSize } from "./image-size.ts";

export type ImageFormat = "png" | "jpeg";

/**
 * Loads libvips: with the first image, or when there is nothing else to do. It takes longer than opening a
 * small model, and the first step can be done without it.
 *
 * @param threads the threads that it may use
 */
export async function loadImageEncoder(threads: number): Promise<void> {
  const { default: sharp } = await import("sharp");
  sharp.concurrency(threads);
  sharp.cache(false);
}

/** fal's JPEGs have about this quality; at 80 the edges of flat shapes fray visibly. */
const JPEG_QUALITY = 95;

/** zlib's level. Files of level 6 are as large, and take half as long again. */
const PNG_LEVEL = 4;

/**
 * Encodes an image, scaled to cover `size` and cropped around the middle when it is of another size. The same
 * pixels give the same bytes.
 *
 * @param rgb 8 bits each, row by row, of the size `from`
 */
export async function encodeImage(
  rgb: Buffer,
  from: ImageSize,
  size: ImageSize,
  format: ImageFormat,
): Promise<Buffer> {
  const { default: sharp } = await import("sharp");
  const image = sharp(rgb, { raw: { ...from, channels: 3 }, limitInputPixels: false });
  const scaled =
    from.width === size.width && from.height === size.height
      ? image
      : image.resize({ ...size, fit: "cover", position: "centre", kernel: "lanczos3" });
  return (
    format === "png" ? scaled.png({ compressionLevel: PNG_LEVEL }) : scaled.jpeg({ quality: JPEG_QUALITY })
  ).toBuffer();
}

/**
 * Converts a decoder's output to RGB, 8 bits each, row by row.
 *
 * @param planes float32 [3, height, width], -1..1; values beyond are clamped
 */
export function toRgb(planes: Float32Array): Buffer {
  const count = planes.length / 3;
  // A clamped array rounds and clamps by itself, in a third of the time; the other runs wait meanwhile.
  const bytes = new Uint8ClampedArray(count * 3);
  for (let c = 0; c < 3; c++) {
    for (let i = 0, at = c, from = c * count; i < count; i++, at += 3)
      bytes[at] = ((planes[from + i] ?? 0) + 1) * 127.5;
  }
  return Buffer.from(bytes.buffer);
}

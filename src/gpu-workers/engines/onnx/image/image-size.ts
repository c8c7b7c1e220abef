/**
 * Sizes of images: a model renders at the trained size whose shape is nearest to the requested one; the
 * result is scaled to cover the requested size and cropped.
 */
export interface ImageSize {
  /** In pixels. */
  width: number;
  height: number;
}

/** fal's names for sizes (`fal.toolkit.image.ImageSizePreset`). */
export const IMAGE_SIZE_PRESETS: Readonly<Record<string, ImageSize>> = {
  square_hd: { width: 1024, height: 1024 },
  square: { width: 512, height: 512 },
  portrait_4_3: { width: 768, height: 1024 },
  portrait_16_9: { width: 576, height: 1024 },
  landscape_4_3: { width: 1024, height: 768 },
  landscape_16_9: { width: 1024, height: 576 },
};

/** Finds the native size whose aspect ratio is nearest, in octaves: 1:2 is as far from 1:1 as 2:1. */
export function nativeSizeFor(
  { width, height }: ImageSize,
  native: readonly [ImageSize, ...ImageSize[]],
): ImageSize {
  const distance = (size: ImageSize) =>
    Math.abs(Math.log2(size.width / size.height) - Math.log2(width / height));
  return native.reduce((best, size) => (distance(size) < distance(best) ? size : best));
}

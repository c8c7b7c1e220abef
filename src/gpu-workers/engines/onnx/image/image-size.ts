/**
 * From the size a caller asks for to the size a model was trained at: the nearest shape is rendered, then
 * scaled to cover and cropped.
 */
export interface PictureSize {
  width: number;
  height: number;
}

/** fal's names for sizes (`fal.toolkit.image.ImageSizePreset`). */
export const IMAGE_SIZE_PRESETS: Readonly<Record<string, PictureSize>> = {
  square_hd: { width: 1024, height: 1024 },
  square: { width: 512, height: 512 },
  portrait_4_3: { width: 768, height: 1024 },
  portrait_16_9: { width: 576, height: 1024 },
  landscape_4_3: { width: 1024, height: 768 },
  landscape_16_9: { width: 1024, height: 576 },
};

/** The native size whose aspect ratio is nearest, in octaves: 1:2 is as far from 1:1 as 2:1. */
export function nativeSizeFor(
  { width, height }: PictureSize,
  native: readonly [PictureSize, ...PictureSize[]],
): PictureSize {
  const distance = (size: PictureSize) =>
    Math.abs(Math.log2(size.width / size.height) - Math.log2(width / height));
  return native.reduce((best, size) => (distance(size) < distance(best) ? size : best));
}

/**
 * Reads a picture that a caller sent: a stranger's file, looked at before it is unpacked, and unpacked within
 * limits.
 */
import { stat } from "node:fs/promises";
import { LIMITS } from "../../../../core/limits.ts";
import { inputFault } from "../runtime/input-error.ts";
import type { PictureSize } from "./image-size.ts";

/** sharp's names. SVG and PDF are programs that draw: not taken. */
const FORMATS = ["jpeg", "png", "webp", "gif", "tiff", "heif"];
/** What fal names in `ctx.supported_formats`. */
const SUPPORTED_FORMATS = [".jpg", ".jpeg", ".png", ".webp", ".gif", ".tiff", ".avif"];
/** A picture of this many pixels a side is the largest square one. */
const SIDE_MAX = Math.floor(Math.sqrt(LIMITS.picturePixelsMax));

export interface GivenPicture {
  /** As it is looked at: turned the way the camera says. */
  size: PictureSize;
  /**
   * Scaled to cover `size` and cropped around the middle, on white where it is transparent: float32 [3,
   * height, width], -1..1.
   */
  fitted(size: PictureSize): Promise<Float32Array>;
}

/**
 * Opens a picture file; its head only.
 *
 * @param field where the input names it. Rejects with a 422: `image_load_error`, `unsupported_image_format`, `image_too_large`
 * or `file_too_large`. `fitted` rejects with `image_load_error` where the rest of the file is damaged.
 */
export async function readPicture(path: string, field: string): Promise<GivenPicture> {
  const { size: bytes } = await stat(path);
  if (bytes > LIMITS.pictureBytesMax) {
    const says = `The image has ${bytes.toLocaleString("en-US")} bytes, more than the ${LIMITS.pictureBytesMax.toLocaleString("en-US")} that are read; send a smaller one.`;
    throw inputFault(field, "file_too_large", says, { max_size: LIMITS.pictureBytesMax });
  }
  const unreadable = () =>
    inputFault(field, "image_load_error", "The file is no image that can be read; send a JPEG, PNG or WebP.");
  // libvips is loaded with the first picture, as for encoding: an engine starts without it.
  const { default: sharp } = await import("sharp");
  const head = await sharp(path, { limitInputPixels: false })
    .metadata()
    .catch(() => undefined);
  if (!head) throw unreadable();
  if (!FORMATS.includes(head.format)) {
    const says = `Images of the format ${head.format} are not taken; send one of ${SUPPORTED_FORMATS.join(", ")}.`;
    throw inputFault(field, "unsupported_image_format", says, { supported_formats: SUPPORTED_FORMATS });
  }
  const { width, height } = head;
  if (width * height > LIMITS.picturePixelsMax) {
    const says = `The image has ${width}x${height} pixels, more than the ${LIMITS.picturePixelsMax.toLocaleString("en-US")} that are read; scale it down.`;
    throw inputFault(field, "image_too_large", says, { max_height: SIDE_MAX, max_width: SIDE_MAX });
  }
  // EXIF orientations 5 to 8 lie on their side.
  const size = (head.orientation ?? 1) >= 5 ? { width: height, height: width } : { width, height };
  return {
    size,
    async fitted(target) {
      const bytes = await sharp(path, { limitInputPixels: LIMITS.picturePixelsMax, failOn: "error" })
        .autoOrient()
        .resize({ ...target, fit: "cover", position: "centre", kernel: "lanczos3" })
        .flatten({ background: "#ffffff" })
        .toColourspace("srgb")
        .removeAlpha()
        .raw()
        .toBuffer()
        .catch(() => {
          throw unreadable();
        });
      const count = target.width * target.height;
      const channels = bytes.length / count;
      const planes = new Float32Array(3 * count);
      for (let i = 0; i < count; i++) {
        // A grey picture has one channel for all three.
        for (let c = 0; c < 3; c++)
          planes[c * count + i] = (bytes[i * channels + (channels === 3 ? c : 0)] ?? 0) / 127.5 - 1;
      }
      return planes;
    },
  };
}

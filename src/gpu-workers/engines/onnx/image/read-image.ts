/**
 * Reads images that callers send. The files are untrusted: the head is checked before the pixels are
 * unpacked, and they are unpacked within limits.
 */
import { stat } from "node:fs/promises";
import type { Metadata } from "sharp";
import { attachedFile, type InputFile } from "../../../../core/files/input-file.ts";
import { LIMITS } from "../../../../core/limits.ts";
import { inputFault } from "../runtime/input-error.ts";
import { foreignFormat } from "./foreign-format.ts";
import type { ImageSize } from "./image-size.ts";

/** The formats that are read, by sharp's names. SVG and PDF are left out: they are programs that draw. */
const FORMATS = ["jpeg", "png", "webp", "gif", "tiff", "heif"];
/** The same as fal names them in `ctx.supported_formats`. */
const SUPPORTED_FORMATS = [".jpg", ".jpeg", ".png", ".webp", ".gif", ".tiff", ".avif"];
/** The side of the largest square image, in pixels. */
const SIDE_MAX = Math.floor(Math.sqrt(LIMITS.imagePixelsMax));

export interface InputImage {
  /** The size of the upright image: the camera's orientation is applied. */
  size: ImageSize;
  /**
   * Gives the image scaled to cover `size` and cropped around the middle, on white where it is transparent:
   * float32 [3, height, width], -1..1. Rejects with `image_load_error` where the file is damaged.
   */
  fitted(size: ImageSize): Promise<Float32Array>;
}

/**
 * Opens the image that an input names.
 *
 * @param value the field's value, `attachment:<index>`; anything else was not fetched and is refused
 * @param field the field's name, for faults
 */
export async function readInputImage(
  value: string | undefined,
  files: readonly InputFile[],
  field: string,
): Promise<InputImage> {
  const file = attachedFile(value, files);
  if (!file)
    throw inputFault(
      field,
      "image_load_error",
      "The image was not fetched; send an http, https or data URL.",
    );
  return readImage(file.path, field);
}

/**
 * Opens an image file and reads its head only. Rejects with a 422: `image_load_error`,
 * `unsupported_image_format`, `image_too_large` or `file_too_large`.
 *
 * @param field the input's field that names the file, for faults
 */
export async function readImage(path: string, field: string): Promise<InputImage> {
  const { size: bytes } = await stat(path);
  if (bytes > LIMITS.imageBytesMax) {
    const message =
      `The image has ${count(bytes)} bytes, more than the ${count(LIMITS.imageBytesMax)} that are read; ` +
      "send a smaller one.";
    throw inputFault(field, "file_too_large", message, { max_size: LIMITS.imageBytesMax });
  }
  // libvips is loaded with the first image, as for encoding: an engine starts without it.
  const { default: sharp } = await import("sharp");
  const head = await sharp(path, { limitInputPixels: false })
    .metadata()
    .catch(() => undefined);
  const foreign = head ? unreadFormat(head) : await foreignFormat(path);
  if (foreign !== undefined) {
    const message =
      `The file is ${foreign}, which is not read as an image; ` +
      `send one of ${SUPPORTED_FORMATS.join(", ")}.`;
    throw inputFault(field, "unsupported_image_format", message, { supported_formats: SUPPORTED_FORMATS });
  }
  if (!head) throw unreadable(field);
  const { width, height } = head;
  if (width * height > LIMITS.imagePixelsMax) {
    const message =
      `The image has ${width}x${height} pixels, more than the ${count(LIMITS.imagePixelsMax)} ` +
      "that are read; scale it down.";
    throw inputFault(field, "image_too_large", message, { max_height: SIDE_MAX, max_width: SIDE_MAX });
  }
  // EXIF orientations 5 to 8 lie on their side.
  const size = (head.orientation ?? 1) >= 5 ? { width: height, height: width } : { width, height };
  return { size, fitted: (target) => fitImage(path, field, target) };
}

/** Returns the name of a format that sharp recognises and that is not read here. */
function unreadFormat({ format, compression }: Metadata): string | undefined {
  if (!FORMATS.includes(format)) return format.toUpperCase();
  // Telephones code HEIF with HEVC, for which sharp's libheif has no decoder, since it is patented.
  return format === "heif" && compression !== "av1" ? "HEIC" : undefined;
}

async function fitImage(path: string, field: string, target: ImageSize): Promise<Float32Array> {
  const { default: sharp } = await import("sharp");
  const bytes = await sharp(path, { limitInputPixels: LIMITS.imagePixelsMax, failOn: "error" })
    .autoOrient()
    .resize({ ...target, fit: "cover", position: "centre", kernel: "lanczos3" })
    .flatten({ background: "#ffffff" })
    .toColourspace("srgb")
    .removeAlpha()
    .raw()
    .toBuffer()
    .catch(() => {
      throw unreadable(field);
    });
  const pixels = target.width * target.height;
  const channels = bytes.length / pixels;
  const planes = new Float32Array(3 * pixels);
  for (let i = 0; i < pixels; i++) {
    // A grey image has one channel for all three.
    for (let c = 0; c < 3; c++)
      planes[c * pixels + i] = (bytes[i * channels + (channels === 3 ? c : 0)] ?? 0) / 127.5 - 1;
  }
  return planes;
}

function unreadable(field: string): Error {
  return inputFault(
    field,
    "image_load_error",
    "The file is not an image that can be read; send a JPEG, PNG or WebP.",
  );
}

const count = (n: number): string => n.toLocaleString("en-US");

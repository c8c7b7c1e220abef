/** What is wrong with a file of an input, in fal's words (contract §7.1): a 422 that names the field. */
import { TemperaError } from "../../../../core/errors/tempera-error.ts";

type MediaFaultType =
  | "file_too_large"
  | "image_load_error"
  | "image_too_large"
  | "image_too_small"
  | "unsupported_image_format"
  | "unsupported_video_format"
  | "video_duration_too_short";

/**
 * @param says one sentence: the thing, the reason, the remedy
 * @param ctx  the numbers or names that fal sends with this type
 */
export function inputFault(
  field: string,
  type: MediaFaultType,
  says: string,
  ctx?: Record<string, unknown>,
): TemperaError {
  const faults = [{ loc: ["body", field], msg: says, type, ...(ctx && { ctx }) }];
  return new TemperaError(type === "file_too_large" ? "file_too_large" : "input_invalid", says, { faults });
}

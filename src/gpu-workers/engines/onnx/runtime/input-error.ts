/** Errors about a file of an input, in fal's terms (contract §7.1): a 422 that names the field. */
import { TemperaError } from "../../../../core/errors/tempera-error.ts";

type MediaFaultType =
  | "content_policy_violation"
  | "file_too_large"
  | "image_load_error"
  | "image_too_large"
  | "image_too_small"
  | "unsupported_image_format"
  | "unsupported_video_format"
  | "video_duration_too_short";

/**
 * Makes the error for one fault of one field.
 *
 * @param message one sentence: the thing, the reason, the remedy
 * @param ctx     the numbers or names that fal sends with this type
 */
export function inputFault(
  field: string,
  type: MediaFaultType,
  message: string,
  ctx?: Record<string, unknown>,
): TemperaError {
  const faults = [{ loc: ["body", field], msg: message, type, ...(ctx && { ctx }) }];
  return new TemperaError(type === "file_too_large" ? "file_too_large" : "input_invalid", message, {
    faults,
  });
}

import { TemperaError } from "../../../core/errors/tempera-error.ts";

/** A repository of a hub: `<owner>/<name>`. */
const REPOSITORY = /^[\w-][\w.-]*\/[\w-][\w.-]*$/;
/** A file in a repository. A part that begins with a dot could leave it. */
const WEIGHT_NAME = /^(?:[\w-][\w.-]*\/){0,8}[\w-][\w.-]*\.safetensors$/;

/**
 * Returns the address of LoRA weights that an input names, as fal takes them: an address, or a repository of
 * a hub whose file `weightName` names. Throws `file_download_error`.
 *
 * @param hubUrl address of the hub, without a slash at its end
 */
export function loraUrl(path: string, weightName: string | undefined, hubUrl: string): string {
  if (/^(https?|data):/i.test(path)) return path;
  if (!REPOSITORY.test(path))
    throw refusal(
      "LoRA weights are named by an http, https or data URL, or by a repository `<owner>/<name>`.",
    );
  if (weightName === undefined)
    throw refusal("The file of this repository is not named; name it in `weight_name`, or use its address.");
  if (!WEIGHT_NAME.test(weightName))
    throw refusal("`weight_name` must name a file of the repository that ends in `.safetensors`.");
  return `${hubUrl}/${path}/resolve/main/${weightName}`;
}

const refusal = (message: string): TemperaError => new TemperaError("file_download_error", message);

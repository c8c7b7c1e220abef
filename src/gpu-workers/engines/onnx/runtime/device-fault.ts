/** Faults of a GPU in the errors of ONNX Runtime. */
import { DeviceFault } from "../../../engine-sdk/device-fault.ts";

/** Faults that a kernel causes, perhaps because of its input, by CUDA's numbers (`cudaError_t`). */
const BY_A_KERNEL = new Set([700, 702, 710, 715, 716, 717, 718, 719, 721]);
/** Faults that no input can cause: the device is gone, or its memory or a link has failed. */
const OF_THE_DEVICE = new Set([46, 100, 214, 220, 226, 709, 714, 911]);

/**
 * Returns the fault of the device behind an error of a network's run: all later calls of this process would
 * fail with it too. Returns any other error as it is.
 */
export function explainDeviceFault(error: unknown): unknown {
  const text = error instanceof Error ? error.message : String(error);
  const [, number = "", reason = ""] = /CUDA (?:failure|error) (\d+): ([^;\n]*)/.exec(text) ?? [];
  const ofDevice = OF_THE_DEVICE.has(Number(number));
  if (!ofDevice && !BY_A_KERNEL.has(Number(number))) return error;
  return new DeviceFault(`The device faulted: ${reason.trim()} (CUDA error ${number}).`, {
    ofDevice,
    cause: error,
  });
}

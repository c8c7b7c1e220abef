import { TemperaError } from "../../core/errors/tempera-error.ts";

/**
 * Ends a run because the device faulted in a way that this process does not recover from. The GPU worker ends
 * the process, and the request is tried again on another one.
 */
export class DeviceFault extends TemperaError {
  /** No input can be the cause, so that no request is blamed for the end of the process. */
  readonly ofDevice: boolean;

  constructor(message: string, { ofDevice, cause }: { ofDevice: boolean; cause?: unknown }) {
    super("runner_device_fault", message, { cause });
    this.ofDevice = ofDevice;
  }
}

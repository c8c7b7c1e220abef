import { describe, expect, it } from "vitest";
import { errorMessage } from "../../../engine-sdk/error-message.ts";
import { explainDeviceFault } from "./device-fault.ts";

const failure = (number: number, text: string) =>
  new Error(
    "Non-zero status code returned while running Gather node. Status Message: CUDA error executing " +
      `CUDA failure ${number}: ${text} ; GPU=0 ; hostname=h ; file=cuda_call.cc ; line=129`,
  );

describe("an error of a network on a GPU", () => {
  it.each([
    [700, "an illegal memory access was encountered", false],
    [710, "device-side assert triggered", false],
    [214, "uncorrectable ECC error encountered", true],
  ])("with CUDA's number %i is a fault of the device on the wire", (number, text, ofDevice) => {
    expect(errorMessage(explainDeviceFault(failure(number, text)))).toEqual({
      code: "runner_device_fault",
      message: `The device faulted: ${text} (CUDA error ${number}).`,
      faultsJson: "",
      ofDevice,
    });
  });

  it.each([failure(2, "out of memory"), failure(9, "invalid configuration argument"), new Error("no")])(
    "that the device survives stays what it is: %s",
    (error) => {
      expect(explainDeviceFault(error)).toBe(error);
      expect(errorMessage(error).code).toBe("runner_server_error");
    },
  );
});

import { errorInfo } from "../../core/errors/tempera-error.ts";
import { writeJson } from "../../core/json/exact-json.ts";
import type { ErrorMessage } from "../contract/engine-protocol.ts";
import { DeviceFault } from "./device-fault.ts";

/** The `Error` message of `engine.proto` for anything that a runner threw. */
export function errorMessage(error: unknown): ErrorMessage {
  const { code, message, faults } = errorInfo(error, "runner_server_error");
  return {
    code,
    message,
    faultsJson: faults ? writeJson(faults) : "",
    ...(error instanceof DeviceFault && { ofDevice: error.ofDevice }),
  };
}

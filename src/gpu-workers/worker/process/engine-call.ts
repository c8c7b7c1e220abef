/**
 * One call of an engine's `Run`, as a GPU worker makes it: what a run and a realtime session have in common.
 */

import { onAbort } from "../../../core/concurrency/with-abort.ts";
import { type ErrorCode, isErrorCode } from "../../../core/errors/catalogue.ts";
import {
  type ErrorInfo,
  type InputFault,
  isTemperaError,
  TemperaError,
} from "../../../core/errors/tempera-error.ts";
import { parseJson } from "../../../core/json/exact-json.ts";
import type { ErrorMessage } from "../../contract/engine-protocol.ts";
import type { PrewarmedCalls, RunCall } from "./prewarmed-calls.ts";

/** The engine of a call. */
export interface CallTarget {
  /** Name of the GPU worker, handed to the `started` of listeners. */
  worker: string;
  /** Called when the engine hangs or breaks its contract: nothing more can be entrusted to it. */
  onFault: (fault: EngineFault) => void;
}

/**
 * Makes a call, and cancels it when `exchange` rejects or `signal` aborts.
 *
 * Rejects with `client_cancelled` as soon as `signal` aborts, `runner_disconnected` when the connection
 * broke, the failure of the engine itself after `onFault`, or what else `exchange` rejected with.
 */
export async function withCall<T>(
  calls: PrewarmedCalls,
  { onFault }: Pick<CallTarget, "onFault">,
  signal: AbortSignal,
  exchange: (call: RunCall) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const call = calls.take();
  let subscription: Disposable | undefined;
  const cancelled = new Promise<never>((_, reject) => {
    subscription = onAbort(signal, () => {
      call.cancel();
      reject(new TemperaError("client_cancelled"));
    });
  });
  try {
    return await Promise.race([cancelled, exchange(call)]);
  } catch (error) {
    call.cancel();
    if (signal.aborted) throw new TemperaError("client_cancelled");
    const fault = engineFaultOf(error);
    if (fault) {
      onFault(fault);
      throw fault;
    }
    if (!isTemperaError(error) && isGrpcError(error))
      throw new TemperaError("runner_disconnected", `The connection to the engine broke: ${error.details}`, {
        cause: error,
      });
    throw error;
  } finally {
    subscription?.[Symbol.dispose]();
  }
}

/** A failure of the engine itself, in contrast to an error that it answered or that a listener threw. */
export class EngineFault extends TemperaError {
  /** The device failed by itself: no input can be the cause. */
  readonly ofDevice: boolean;

  constructor(
    code: ErrorCode,
    message: string,
    { ofDevice = false, cause }: { ofDevice?: boolean; cause?: unknown } = {},
  ) {
    super(code, message, { cause });
    this.ofDevice = ofDevice;
  }
}

/** An answer that the engine contract does not allow. */
export function contractBroken(message: string, cause?: unknown): EngineFault {
  return new EngineFault("runner_incomplete_response", message, { cause });
}

/** Finds the failure of the engine itself behind an error, if there is one. */
function engineFaultOf(error: unknown): EngineFault | undefined {
  if (error instanceof EngineFault) return error;
  // grpc-js reports bytes that are no message of the contract this way.
  const isGarbled = isGrpcError(error) && error.details.startsWith("Response message parsing error");
  return isGarbled ? contractBroken("The engine sent a message that cannot be read.", error) : undefined;
}

/**
 * Reads an error that the engine answered. Throws `EngineFault` when its device has faulted, or when its
 * faults are not JSON.
 */
export function readEngineError({ code, message, faultsJson, ofDevice = false }: ErrorMessage): ErrorInfo {
  if (code === "runner_device_fault") throw new EngineFault(code, message, { ofDevice });
  let faults: InputFault[] | undefined;
  try {
    faults = faultsJson ? parseJson<InputFault[]>(faultsJson) : undefined;
  } catch (cause) {
    throw contractBroken("The engine answered an error whose faults are not JSON.", cause);
  }
  return { code: isErrorCode(code) ? code : "runner_server_error", message, ...(faults && { faults }) };
}

export function temperaErrorOf({ code, message, faults }: ErrorInfo): TemperaError {
  return new TemperaError(code, message, faults && { faults });
}

/** gRPC errors carry numeric status codes; `TemperaError`s and system errors carry strings. */
function isGrpcError(error: unknown): error is { code: number; details: string } {
  return (
    typeof error === "object" && error !== null && typeof (error as { code?: unknown }).code === "number"
  );
}

import { TransportError } from "@temporalio/worker";
import { TemperaError } from "../../core/errors/tempera-error.ts";

/** Settles as the start of a worker does, or with `temporal_unavailable` if Temporal went away meanwhile. */
export async function unlessAway<T>(starting: Promise<T>): Promise<T> {
  try {
    return await starting;
  } catch (error) {
    if (!(error instanceof TransportError)) throw error;
    throw new TemperaError(
      "temporal_unavailable",
      `Temporal went away while a worker started (${error.message.split("\n")[0]}).`,
      { cause: error },
    );
  }
}

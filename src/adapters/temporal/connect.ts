import { Client, Connection } from "@temporalio/client";
import { NativeConnection } from "@temporalio/worker";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { within } from "./within.ts";

export interface TemporalAddress {
  address: string;
  namespace: string;
}

const unreachable = (address: string, cause: unknown): TemperaError =>
  new TemperaError(
    "temporal_unavailable",
    `Temporal at ${address} cannot be reached (${cause instanceof Error ? cause.message.split("\n")[0] : String(cause)}); start it or correct TEMPORAL_ADDRESS.`,
    { cause },
  );

/** A client over gRPC. Rejects with `temporal_unavailable` when the server does not answer within `timeoutMs`. */
export async function connectClient({ address, namespace }: TemporalAddress, timeoutMs = 10_000): Promise<Client> {
  try {
    // Not `Connection.connect`, for the reason that `within` gives.
    const connection = Connection.lazy({ address });
    await within(timeoutMs, connection.workflowService.getSystemInfo({}));
    return new Client({ connection, namespace });
  } catch (error) {
    throw unreachable(address, error);
  }
}

/** The connection workers poll on. Rejects with `temporal_unavailable`. */
export async function connectWorker({ address }: TemporalAddress): Promise<NativeConnection> {
  try {
    return await NativeConnection.connect({ address });
  } catch (error) {
    throw unreachable(address, error);
  }
}

import { Client } from "@temporalio/client";
import { NativeConnection } from "@temporalio/worker";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { within } from "./within.ts";

const unreachable = (address: string, cause: unknown): TemperaError =>
  new TemperaError(
    "temporal_unavailable",
    `Temporal at ${address} cannot be reached (${cause instanceof Error ? cause.message.split("\n")[0] : String(cause)}); start it or correct TEMPORAL_ADDRESS.`,
    { cause },
  );

export interface TemporalConnection {
  client: Client;
  /** The client's, which workers poll on as well. */
  connection: NativeConnection;
}

/**
 * Connects a process, once. Rejects with `temporal_unavailable` when the server does not answer within `timeoutMs`.
 *
 * The client has the workers' kind of connection, too: that of its own package sets the namespace of every call in an
 * `AsyncLocalStorage`, and once a process has used one, Node 20 pays for it at every promise; its gRPC also runs on the
 * thread that answers callers.
 */
export async function connectTemporal(
  { address, namespace }: { address: string; namespace: string },
  timeoutMs = 10_000,
): Promise<TemporalConnection> {
  const connecting = NativeConnection.connect({ address });
  try {
    const connection = await within(timeoutMs, connecting);
    return { client: new Client({ connection, namespace }), connection };
  } catch (error) {
    // One that comes too late has nobody else to close it.
    void connecting.then((connection) => connection.close()).catch(() => {});
    throw unreachable(address, error);
  }
}

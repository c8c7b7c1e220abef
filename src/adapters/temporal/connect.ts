import { Client } from "@temporalio/client";
import type { PayloadCodec } from "@temporalio/common";
import { NativeConnection, type TLSConfig } from "@temporalio/worker";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { ServiceTls } from "../../core/operations/service-tls.ts";
import { within } from "./within.ts";

const unreachable = (address: string, cause: unknown): TemperaError =>
  new TemperaError(
    "temporal_unavailable",
    `Temporal at ${address} cannot be reached ` +
      `(${cause instanceof Error ? cause.message.split("\n")[0] : String(cause)}); ` +
      "start it or correct TEMPORAL_ADDRESS.",
    { cause },
  );

const tlsOf = ({ ca, cert, key, serverName }: ServiceTls): TLSConfig => ({
  ...(serverName !== undefined && { serverNameOverride: serverName }),
  ...(ca && { serverRootCACertificate: Buffer.from(ca) }),
  ...(cert && key && { clientCertPair: { crt: Buffer.from(cert), key: Buffer.from(key) } }),
});

export interface TemporalConnection {
  client: Client;
  /** The client's connection, which workers poll on too. */
  connection: NativeConnection;
}

/**
 * Opens the one connection of a process. Rejects with `temporal_unavailable` when the server does not answer
 * within `timeoutMs`.
 *
 * The client uses the workers' kind of connection. That of the client package sets the namespace of each call
 * in an `AsyncLocalStorage`, which in Node 20 costs time at every promise once it is used; its gRPC also runs
 * on the thread that serves callers.
 */
export async function connectTemporal(
  {
    address,
    namespace,
    tls,
    codec,
  }: { address: string; namespace: string; tls?: ServiceTls | undefined; codec?: PayloadCodec },
  timeoutMs = 10_000,
): Promise<TemporalConnection> {
  const connecting = NativeConnection.connect({ address, ...(tls && { tls: tlsOf(tls) }) });
  try {
    const connection = await within(timeoutMs, connecting);
    return {
      client: new Client({
        connection,
        namespace,
        ...(codec && { dataConverter: { payloadCodecs: [codec] } }),
      }),
      connection,
    };
  } catch (error) {
    // A connection that arrives after the timeout is closed here: nobody else has it.
    void connecting.then((connection) => connection.close()).catch(() => {});
    throw unreachable(address, error);
  }
}

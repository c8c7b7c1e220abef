import { Client, type ConnectionLike } from "@temporalio/client";
import type { PayloadCodec } from "@temporalio/common";
import { NativeConnection, type TLSConfig } from "@temporalio/worker";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { ServiceTls } from "../../core/operations/service-tls.ts";
import { dataConverterOf } from "./data-converter.ts";
import { prepareTemporal } from "./prepare.ts";
import { within } from "./within.ts";

const CONNECT_MS = 10_000;

const unreachable = (address: string, cause: unknown): TemperaError =>
  new TemperaError(
    "temporal_unavailable",
    `Temporal at ${address} cannot be reached (${reasonOf(cause)}); start it or correct TEMPORAL_ADDRESS.`,
    { cause },
  );

/** Returns the message of an error. That of the SDK's core has the system's within a long structure. */
function reasonOf(cause: unknown): string {
  const [line = ""] = (cause instanceof Error ? cause.message : String(cause)).split("\n");
  return /\bmessage: "([^"]+)"/.exec(line)?.[1] ?? line;
}

const tlsOf = ({ ca, cert, key, serverName }: ServiceTls): TLSConfig => ({
  ...(serverName !== undefined && { serverNameOverride: serverName }),
  ...(ca && { serverRootCACertificate: Buffer.from(ca) }),
  ...(cert && key && { clientCertPair: { crt: Buffer.from(cert), key: Buffer.from(key) } }),
});

interface TemporalOptions {
  address: string;
  namespace: string;
  tls?: ServiceTls | undefined;
  codec?: PayloadCodec;
}

export interface TemporalConnection {
  client: Client;
  /** The client's connection, which workers poll on too. */
  connection: NativeConnection;
}

/** A client whose connection may be opened later. */
export interface LazyTemporal {
  /** Usable at once. Until `open` has succeeded, its calls reject without being sent. */
  client: Client;
  /**
   * Tries once to connect, and creates the namespace and the search attributes if they are missing. Rejects
   * with `temporal_unavailable`; may then be called again.
   */
  open(): Promise<NativeConnection>;
  /** Closes the connection if it is open. */
  close(): Promise<void>;
}

/**
 * Creates the one connection of a process, not open yet.
 *
 * The client uses the workers' kind of connection. That of the client package sets the namespace of each call
 * in an `AsyncLocalStorage`, which in Node 20 costs time at every promise once it is used; its gRPC also runs
 * on the thread that serves callers.
 */
export function createLazyTemporal(options: TemporalOptions): LazyTemporal {
  const lazy = new LazyNativeConnection(options.address);
  return {
    client: clientOf(lazy, options),
    async open() {
      const native = await connect(options, CONNECT_MS);
      try {
        await prepareTemporal(clientOf(native, options));
      } catch (error) {
        await native.close().catch(() => {});
        throw error;
      }
      lazy.native = native;
      return native;
    },
    close: () => lazy.close(),
  };
}

/** Tells whether calls of a client can be sent: its connection was opened. */
export function isOpened({ connection }: Client): boolean {
  return !(connection instanceof LazyNativeConnection) || connection.native !== undefined;
}

/** Opens a connection now. Rejects with `temporal_unavailable` when no server answers in `timeoutMs`. */
export async function connectTemporal(
  options: TemporalOptions,
  timeoutMs = CONNECT_MS,
): Promise<TemporalConnection> {
  const connection = await connect(options, timeoutMs);
  return { client: clientOf(connection, options), connection };
}

const clientOf = (connection: ConnectionLike, { namespace, codec }: TemporalOptions): Client =>
  new Client({ connection, namespace, dataConverter: dataConverterOf(codec) });

async function connect({ address, tls }: TemporalOptions, timeoutMs: number): Promise<NativeConnection> {
  const connecting = NativeConnection.connect({ address, ...(tls && { tls: tlsOf(tls) }) });
  try {
    return await within(timeoutMs, connecting);
  } catch (error) {
    // A connection that arrives after the timeout is closed here: nobody else has it.
    void connecting.then((connection) => connection.close()).catch(() => {});
    throw unreachable(address, error);
  }
}

/** Stands for a `NativeConnection`, which can only be created by connecting, until there is one. */
class LazyNativeConnection implements ConnectionLike {
  readonly plugins: ConnectionLike["plugins"] = [];
  native: NativeConnection | undefined;
  readonly #address: string;

  constructor(address: string) {
    this.#address = address;
  }

  get workflowService(): ConnectionLike["workflowService"] {
    return this.#opened().workflowService;
  }

  get operatorService(): ConnectionLike["operatorService"] {
    return this.#opened().operatorService;
  }

  async ensureConnected(): Promise<void> {
    this.#opened();
  }

  async close(): Promise<void> {
    await this.native?.close();
  }

  withDeadline<R>(deadline: number | Date, call: () => Promise<R>): Promise<R> {
    return this.#opened().withDeadline(deadline, call);
  }

  withMetadata: ConnectionLike["withMetadata"] = (metadata, call) =>
    this.#opened().withMetadata(metadata, call);

  withAbortSignal: ConnectionLike["withAbortSignal"] = (signal, call) =>
    this.#opened().withAbortSignal(signal, call);

  #opened(): NativeConnection {
    if (!this.native) throw unreachable(this.#address, "it was not reached yet");
    return this.native;
  }
}

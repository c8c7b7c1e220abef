/** The embedded Temporal, which serves those who have its credential. */
import type { TLSConfig } from "@temporalio/client";
import type { ServiceTls } from "../../core/operations/service-tls.ts";
import { passwordFile, servicePassword } from "../services/password.ts";
import { freePort } from "../services/port.ts";
import { type Service, startProcess } from "../services/service.ts";
import {
  hasNamespace,
  TEMPORAL_NAMESPACE,
  type TemporalOptions,
  type TemporalService,
  temporalProcess,
} from "../services/temporal.ts";
import type { ClientCertificates } from "./client-certificates.ts";
import { type Door, listenOn, openDoor, type Way } from "./open-door.ts";
import type { OwnNetwork } from "./own-network.ts";

export interface ClosedTemporalOptions extends TemporalOptions {
  port: number;
  uiPort: number;
  certificates: ClientCertificates;
  /** Network that it runs in. Without one, every user of this machine reaches its server, but not the UI. */
  network: OwnNetwork | undefined;
}

/**
 * Starts Temporal's development server, which itself knows no credential, in a network of its own. What leads
 * there from the configured ports asks for one: of callers of the server a client certificate, of those of
 * the UI the password in `folder/password`, by the names of this machine only.
 *
 * Rejects with `setup_failed`.
 */
export async function startClosedTemporal(options: ClosedTemporalOptions): Promise<TemporalService> {
  const { port, uiPort, network, certificates } = options;
  // In a network of its own, it has the same ports.
  const inner = { port, uiPort: network ? uiPort : await freePort() };
  const spec = await temporalProcess(options, inner);
  const ways = await holdPorts(options, inner);
  const tls = network && clientTls(certificates);
  let door: Door | undefined;
  try {
    const address = `127.0.0.1:${port}`;
    const service = await startProcess({
      ...spec,
      ...network?.isolate(spec.command, spec.args),
      url: address,
      port,
      isPortHeld: network !== undefined,
      onStarted: async (pid) => {
        door = await openDoor(ways, async (command, args) =>
          network ? network.join(pid, command, args) : { command, args },
        );
      },
      isReady: () => hasNamespace(address, tls && asTemporalTls(tls)),
    });
    return {
      ...withDoor(service, door),
      namespace: TEMPORAL_NAMESPACE,
      uiUrl: `http://localhost:${uiPort}`,
      uiPasswordFile: passwordFile(options.folder),
      ...(tls && { tls }),
    };
  } catch (error) {
    for (const { server } of ways) server.close();
    await door?.close();
    throw error;
  }
}

async function holdPorts(
  { folder, port, uiPort, certificates, network }: ClosedTemporalOptions,
  inner: { port: number; uiPort: number },
): Promise<{ server: Awaited<ReturnType<typeof listenOn>>; way: Way }[]> {
  const hosts = [`localhost:${uiPort}`, `127.0.0.1:${uiPort}`];
  const password = await servicePassword(folder);
  const { ca, server } = certificates;
  const uiClaim = { port: uiPort, owner: "Temporal UI", variable: "TEMPERA_TEMPORAL_UI_PORT" };
  const ui = {
    server: await listenOn(uiClaim),
    way: { leadsTo: "ui" as const, port: inner.uiPort, hosts, password },
  };
  if (!network) return [ui];
  const claim = { port, owner: "Temporal", variable: "TEMPERA_TEMPORAL_PORT" };
  const listening = await listenOn(claim).catch((error) => {
    ui.server.close();
    throw error;
  });
  return [{ server: listening, way: { leadsTo: "server", port: inner.port, ca, ...server } }, ui];
}

/** Joins the ends of both processes: neither is of use without the other. */
function withDoor(service: Service, door: Door | undefined): Service {
  const ended = service.ended.then(async (how) => {
    await door?.close();
    return how;
  });
  void door?.ended.then(() => service.stop());
  const stop = async () => {
    await service.stop();
    await ended;
  };
  return { ...service, ended, stop, [Symbol.asyncDispose]: stop };
}

/** The credential of a client, as settings of its connection. */
export const clientTls = ({ ca, client }: ClientCertificates): ServiceTls => ({
  ca,
  ...client,
  serverName: "localhost",
});

const asTemporalTls = ({ ca = "", cert = "", key = "", serverName = "" }: ServiceTls): TLSConfig => ({
  serverNameOverride: serverName,
  serverRootCACertificate: Buffer.from(ca),
  clientCertPair: { crt: Buffer.from(cert), key: Buffer.from(key) },
});

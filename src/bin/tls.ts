import { isIP } from "node:net";
import { join, resolve } from "node:path";
import type { Certificate, LocalAuthority } from "../adapters/tls/local-authority.ts";
import type { HttpServer } from "../api/http/listen.ts";
import type { Config } from "../config/settings.ts";
import { PeriodicTask } from "../core/concurrency/periodic-task.ts";
import { systemClock } from "../core/operations/clock.ts";
import type { Log } from "../core/operations/log.ts";
import { TREES } from "../fal/index.ts";

/** Source of the certificate of a TLS listener. */
export interface CertificateSource {
  /** Gives the certificate to use now, renewed when it is due. */
  certificate(): Promise<Certificate>;
  /** Certificate of the local authority, if that is used: clients must trust it. */
  caFile?: string;
}

/** Interval between checks for a newer certificate, also one that replaced the configured file. */
const CHECK_EVERY_MS = 3_600_000;

/**
 * Opens the configured certificate, else one of the local authority. Rejects with a sentence when neither can
 * be used.
 */
export async function certificateSource(config: Config): Promise<CertificateSource> {
  const { cert, key } = config.tls;
  if (!cert && !key) return localAuthority(config);
  if (!cert || !key)
    throw new Error(`${cert ? "TEMPERA_TLS_CERT" : "TEMPERA_TLS_KEY"} is set alone; set both, or neither.`);
  const { readOwnCertificate } = await import("../adapters/tls/own-certificate.ts");
  const certificate = () => readOwnCertificate({ cert, key });
  await certificate();
  return { certificate };
}

/**
 * Opens the local authority in the data folder; creates it on first use. Its package is loaded only when
 * needed.
 */
export async function localAuthority(config: Config): Promise<LocalAuthority> {
  const names = serverNames(config);
  const { openLocalAuthority } = await import("../adapters/tls/local-authority.ts");
  return openLocalAuthority({ folder: join(resolve(config.folders.data), "tls"), names, clock: systemClock });
}

const NAME = /^(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)*$/i;

/** Lists all of fal's host names, those of this machine, and those that the configuration adds. */
function serverNames({ server, tls }: Config): string[] {
  const configured = (tls.names ?? "").split(",").flatMap((name) => name.trim() || []);
  const wrong = configured.find((name) => !isIP(name) && !(NAME.test(name) && name.length <= 253));
  if (wrong !== undefined)
    throw new Error(`TEMPERA_TLS_NAMES: "${wrong}" is neither a host name nor an address; correct it.`);
  const fal = Object.values(TREES).flatMap(({ hosts }) => [...hosts]);
  const publicHosts = [server.publicUrl, server.filesUrl].flatMap((url) =>
    url ? [new URL(url).hostname.replace(/^\[|\]$/g, "")] : [],
  );
  const bound = ["0.0.0.0", "::"].includes(server.host) ? [] : [server.host];
  const all = ["localhost", "127.0.0.1", "::1", ...fal, ...publicHosts, ...bound, ...configured];
  return [...new Set(all.map((name) => name.toLowerCase()))];
}

/**
 * Gives a listener the newest certificate at intervals, until `stop`. After a failure, the current one stays
 * in use.
 */
export function keepCertificateFresh(server: HttpServer, source: CertificateSource, log: Log): PeriodicTask {
  const renew = async () => server.useCertificate(await source.certificate());
  return new PeriodicTask(renew, {
    everyMs: CHECK_EVERY_MS,
    description: "renewing the TLS certificate",
    log,
  });
}

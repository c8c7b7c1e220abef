import { readFile } from "node:fs/promises";
import { type Config, SETTINGS } from "../config/settings.ts";
import type { ServiceTls } from "../core/operations/service-tls.ts";

/** Groups of settings of the services that can be used over TLS. */
export type TlsService = "temporal" | "postgres" | "redis" | "objects";

/**
 * Reads the TLS settings of a service, with the content of their files. `undefined` means that the address
 * decides. Rejects with a sentence that names the variable and its remedy. A renewed certificate is read at
 * the next start.
 */
export async function readServiceTls(config: Config, service: TlsService): Promise<ServiceTls | undefined> {
  const { tls, tlsCa, tlsCert, tlsKey, tlsServerName } = config[service];
  const names = SETTINGS[service];
  if (!tls && !tlsCa && !tlsCert && !tlsKey && !tlsServerName) return undefined;
  const { value, setting } = addressOf(config, service);
  if (!value) {
    throw new Error(
      `${names.tls.env} or a setting that belongs to it is set, but not ${setting.env}: ` +
        "the default service has no TLS; set the address, or leave the TLS settings out.",
    );
  }
  if (!tlsCert !== !tlsKey) {
    throw new Error(
      `${tlsCert ? names.tlsCert.env : names.tlsKey.env} is set alone; ` +
        `set ${names.tlsCert.env} and ${names.tlsKey.env}, or neither.`,
    );
  }
  const [ca, cert, key] = await Promise.all([
    readPem(tlsCa, names.tlsCa.env, "CERTIFICATE"),
    readPem(tlsCert, names.tlsCert.env, "CERTIFICATE"),
    readPem(tlsKey, names.tlsKey.env, "PRIVATE KEY"),
  ]);
  return {
    ...(ca && { ca }),
    ...(cert && { cert }),
    ...(key && { key }),
    ...(tlsServerName && { serverName: tlsServerName }),
  };
}

function addressOf(
  { temporal, postgres, redis, objects }: Config,
  service: TlsService,
): { value: string | undefined; setting: { env: string } } {
  switch (service) {
    case "temporal":
      return { value: temporal.address, setting: SETTINGS.temporal.address };
    case "postgres":
      return { value: postgres.url, setting: SETTINGS.postgres.url };
    case "redis":
      return { value: redis.url, setting: SETTINGS.redis.url };
    case "objects":
      return { value: objects.endpoint, setting: SETTINGS.objects.endpoint };
  }
}

async function readPem(
  path: string | undefined,
  variable: string,
  holds: "CERTIFICATE" | "PRIVATE KEY",
): Promise<string | undefined> {
  if (!path) return undefined;
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new Error(`${variable} names ${path}, which cannot be read (${error.code}); correct it.`);
  });
  if (!new RegExp(`-----BEGIN [A-Z ]*${holds}-----`).test(text)) {
    throw new Error(
      `${variable} names ${path}, which holds no ${holds.toLowerCase()} in PEM form; correct it.`,
    );
  }
  return text;
}

import type { Config } from "../config/settings.ts";
import type { ServiceTls } from "../core/operations/service-tls.ts";

/** Addresses of the services that a process uses. Without an address, the in-process default is used. */
export interface Addresses {
  temporal: string;
  /** The credential of the embedded Temporal; that of another one is configured. */
  temporalTls?: ServiceTls;
  databaseUrl: string;
  redisUrl?: string;
  s3?: { endpoint: string; accessKey: string; secretKey: string };
}

/**
 * Reads the addresses of a process that stands alone. Throws an error that names each missing setting, since
 * such a process embeds no service.
 */
export function configuredAddresses(config: Config, role: string): Addresses {
  const missing = [
    !config.temporal.address && "TEMPORAL_ADDRESS",
    !config.postgres.url && "DATABASE_URL",
    !config.redis.url && "REDIS_URL",
  ].filter((name) => typeof name === "string");
  if (missing.length > 0) {
    const them = missing.length === 1 ? "it" : "them";
    const a = /^[aeiou]/.test(role) ? "An" : "A";
    throw new Error(
      `${a} ${role} in a process of its own needs ${missing.join(", ")}; ` +
        `set ${them}, or run \`npm start\` for the embedded default.`,
    );
  }
  const s3 = configuredS3(config);
  return {
    temporal: config.temporal.address ?? "",
    databaseUrl: config.postgres.url ?? "",
    ...(config.redis.url && { redisUrl: config.redis.url }),
    ...(s3 && { s3 }),
  };
}

/**
 * Reads the configured object store; `undefined` if there is none. Throws when its keys are missing, or when
 * TLS is configured for an address that begins with `http://`.
 */
export function configuredS3({ objects }: Config): Addresses["s3"] {
  if (!objects.endpoint) return undefined;
  if (!objects.accessKey || !objects.secretKey) {
    throw new Error("S3_ENDPOINT is set, but not its keys; set S3_ACCESS_KEY and S3_SECRET_KEY.");
  }
  const wantsTls = objects.tls || objects.tlsCa || objects.tlsCert || objects.tlsServerName;
  if (wantsTls && !objects.endpoint.startsWith("https:")) {
    throw new Error(
      "TEMPERA_S3_TLS or one of its files is set, but S3_ENDPOINT begins with http://; " +
        "write https://, or leave them out.",
    );
  }
  return { endpoint: objects.endpoint, accessKey: objects.accessKey, secretKey: objects.secretKey };
}

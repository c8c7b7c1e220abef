/**
 * How a service is spoken to over TLS. What is absent is the driver's default; without `ca` that is what
 * Node.js trusts.
 */
export interface ServiceTls {
  /** Authorities its certificate may come from, PEM. */
  ca?: string;
  /** Certificate to show to it, PEM; with `key`, or neither. */
  cert?: string;
  /** Private key of that certificate, PEM. */
  key?: string;
  /** The name its certificate must carry, where that is not the host of its address. */
  serverName?: string;
}

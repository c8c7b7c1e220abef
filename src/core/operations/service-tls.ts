/**
 * The TLS settings of a connection to a service. For an absent field the driver's default counts; without
 * `ca` these are the authorities that Node.js trusts.
 */
export interface ServiceTls {
  /** Authorities that may have signed the service's certificate, PEM. */
  ca?: string;
  /** Client certificate, PEM; set both this and `key`, or neither. */
  cert?: string;
  /** Private key of the client certificate, PEM. */
  key?: string;
  /** Name that the service's certificate must have, if it differs from the host of the address. */
  serverName?: string;
}

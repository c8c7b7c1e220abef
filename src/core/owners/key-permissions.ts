/**
 * Narrows what a key may do to less than its scope allows: to some endpoints, to some addresses, to reading.
 * An absent field narrows nothing.
 */
import { TemperaError } from "../errors/tempera-error.ts";
import { isWithinRanges } from "../operations/address-policy.ts";

export interface KeyPermissions {
  /** The endpoints that it may call: exact ids, and `fal-ai/wan/*` for all below `fal-ai/wan`. */
  endpoints?: readonly string[];
  /** The addresses and ranges that it may be used from: `10.0.0.0/8`, `2001:db8::/32`. */
  addresses?: readonly string[];
  /** It changes nothing: it reads statuses, results, lists and files. */
  readOnly?: true;
}

/** Matches a pattern of endpoints: an id, `owner/*` or `owner/alias/*`, or `*` for all. */
export const ENDPOINT_PATTERN =
  /^(?:\*|[A-Za-z0-9_.-]+(?:\/[A-Za-z0-9_.-]+)+|[A-Za-z0-9_.-]+(?:\/[A-Za-z0-9_.-]+)*\/\*)$/;

/** Longest pattern of endpoints, in characters. */
export const ENDPOINT_PATTERN_CHARS_MAX = 512;

/** Matches an address, or a range of addresses: `192.0.2.1`, `10.0.0.0/8`, `2001:db8::/32`. */
export const ADDRESS_RANGE = new RegExp(`^(?:${ipv4Range()}|${ipv6Range()})$`);

function ipv4Range(): string {
  const byte = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
  return `(?:${byte}\\.){3}${byte}(?:/(?:3[0-2]|[12]?[0-9]))?`;
}

/** Eight groups, or fewer around one `::`. */
function ipv6Range(): string {
  const group = "[0-9A-Fa-f]{1,4}";
  const around = [1, 2, 3, 4, 5, 6].map((after) => `(?:${group}:){1,${7 - after}}(?::${group}){1,${after}}`);
  const forms = [`(?:${group}:){7}${group}`, `(?:${group}:){1,7}:`, ...around, `:(?:(?::${group}){1,7}|:)`];
  return `(?:${forms.join("|")})(?:/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9]))?`;
}

/** Tells whether permissions allow calls of an endpoint. */
export function isEndpointPermitted({ endpoints }: KeyPermissions, endpoint: string): boolean {
  if (!endpoints) return true;
  return endpoints.some((pattern) =>
    pattern.endsWith("*") ? endpoint.startsWith(pattern.slice(0, -1)) : endpoint === pattern,
  );
}

/**
 * Refuses a call of an endpoint that the caller's key may not call. Throws `key_endpoint_forbidden`.
 *
 * @param caller whose key's permissions decide
 */
export function assertEndpointPermitted(
  { permissions }: { permissions?: KeyPermissions },
  endpoint: string,
): void {
  if (permissions && !isEndpointPermitted(permissions, endpoint))
    throw new TemperaError("key_endpoint_forbidden", `This key may not call ${endpoint.slice(0, 200)}.`);
}

/**
 * Refuses a call from an address that is not the key's, then one that a key for reading may not make. The
 * errors `key_address_forbidden` and `key_read_only` name no address, since whoever found the key may ask.
 *
 * @param address of the caller; a call without one comes from nowhere that is permitted
 */
export function assertCallPermitted(
  permissions: KeyPermissions | undefined,
  { address, writes }: { address: string | undefined; writes: boolean },
): void {
  const { addresses, readOnly } = permissions ?? {};
  if (addresses && !(address !== undefined && isWithinRanges(address, addresses)))
    throw new TemperaError("key_address_forbidden");
  if (readOnly && writes) throw new TemperaError("key_read_only");
}

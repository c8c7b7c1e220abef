/**
 * The address policy says to which IP addresses the platform may connect on a caller's behalf: to public
 * ones only, unless the configuration allows more. A URL in a request must not reach what only this machine
 * and its neighbours can reach. Names are resolved elsewhere; the resolved addresses are judged here.
 *
 * This folder has what the whole installation shares: clocks, logs, secrets, schedules, retention, the audit
 * log, and safe outbound HTTP.
 */
import ipaddr from "ipaddr.js";

export type Address = ipaddr.IPv4 | ipaddr.IPv6;

/** A range of addresses: those that share the first bits of an address. */
export type AddressRange = [address: Address, bits: number];

/**
 * Parses an address; `undefined` for anything else. Takes the forms that URLs and resolvers have: dotted
 * IPv4, IPv6 with `::`, with a dotted tail or a zone, in brackets or not. Octal and hexadecimal IPv4 is
 * refused.
 */
export function parseAddress(text: string): Address | undefined {
  const plain = text.replace(/^\[(.*)\]$/, "$1").replace(/%.*$/, "");
  if (ipaddr.IPv4.isValidFourPartDecimal(plain)) return ipaddr.IPv4.parse(plain);
  return plain.includes(":") && ipaddr.IPv6.isValid(plain) ? ipaddr.IPv6.parse(plain) : undefined;
}

/** Parses `10.0.0.0/8`, `fd00::/8`, or one address; `undefined` for anything else. */
export function parseRange(text: string): AddressRange | undefined {
  const [first = "", prefix, ...rest] = text.trim().split("/");
  const address = parseAddress(first);
  if (!address || rest.length > 0) return undefined;
  const bitsMax = address.toByteArray().length * 8;
  if (prefix === undefined) return [address, bitsMax];
  if (!/^\d{1,3}$/.test(prefix) || Number(prefix) > bitsMax) return undefined;
  return [address, Number(prefix)];
}

const isWithin = (address: Address, [start, bits]: AddressRange): boolean =>
  address.kind() === start.kind() && address.match(start, bits);

/**
 * Tells whether an address is in one of some ranges. IPv4 counts as IPv4 also where IPv6 carries it
 * (`::ffff:10.0.0.1`).
 */
export function isWithinRanges(text: string, ranges: readonly string[]): boolean {
  const parsed = parseAddress(text);
  const address =
    parsed instanceof ipaddr.IPv6 && parsed.isIPv4MappedAddress() ? parsed.toIPv4Address() : parsed;
  return (
    address !== undefined &&
    ranges.some((each) => {
      const known = parseRange(each);
      return known !== undefined && isWithin(address, known);
    })
  );
}

const range = (text: string): AddressRange => parseRange(text) as AddressRange;

/**
 * The special-purpose blocks of IPv4 (IANA registry, RFC 6890), and the host of Azure that serves the
 * metadata of its machines.
 */
const SPECIAL_V4 = [
  "0.0.0.0/8", // this network, and the unspecified address
  "10.0.0.0/8",
  "100.64.0.0/10", // carrier-grade NAT; Alibaba's metadata
  "127.0.0.0/8",
  "168.63.129.16/32", // Azure's host
  "169.254.0.0/16", // link-local; the metadata of most clouds
  "172.16.0.0/12",
  "192.0.0.0/24", // protocol assignments; Oracle's metadata
  "192.0.2.0/24", // documentation
  "192.88.99.0/24", // 6to4 relays
  "192.168.0.0/16",
  "198.18.0.0/15", // benchmarks
  "198.51.100.0/24", // documentation
  "203.0.113.0/24", // documentation
  "224.0.0.0/4", // multicast
  "240.0.0.0/4", // reserved, and broadcast
].map(range);

/**
 * Global unicast is one block of IPv6; loopback, link-local, unique-local, multicast and IPv4-mapped
 * addresses are outside it.
 */
const GLOBAL_V6 = range("2000::/3");
const SPECIAL_V6 = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"].map(range);
/** NAT64: an IPv6 network uses it to reach the IPv4 address in the last four bytes (RFC 6052). */
const NAT64 = range("64:ff9b::/96");

/** Tells whether an address is part of the public Internet. */
function isPublicAddress(address: Address): boolean {
  if (address instanceof ipaddr.IPv4) return !SPECIAL_V4.some((special) => isWithin(address, special));
  if (isWithin(address, NAT64)) return isPublicAddress(new ipaddr.IPv4(address.toByteArray().slice(12)));
  return isWithin(address, GLOBAL_V6) && !SPECIAL_V6.some((special) => isWithin(address, special));
}

/** The addresses that may be reached besides the public Internet: all, or these ranges. */
export type AllowedPrivate = "all" | readonly AddressRange[];

/** Tells whether a request may be sent to an address. `text` is an address, not a name. */
export function mayReach(text: string, allowed: AllowedPrivate): boolean {
  const address = parseAddress(text);
  if (!address) return false;
  if (allowed === "all" || isPublicAddress(address)) return true;
  return allowed.some((open) => isWithin(address, open));
}

/**
 * Parses the setting: `all`, or addresses and ranges (`10.1.0.0/16, ::1`) separated by commas; empty for
 * none.
 *
 * @throws Error that names the part that is neither
 */
export function parseAllowedPrivate(text: string): AllowedPrivate {
  if (text.trim().toLowerCase() === "all") return "all";
  return text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "")
    .map((part) => {
      const parsed = parseRange(part);
      if (!parsed) throw new Error(`"${part}" is neither an address nor a range like 10.0.0.0/8`);
      return parsed;
    });
}

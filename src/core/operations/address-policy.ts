/**
 * Which IP addresses the platform may be sent to on a caller's word. Public ones only, unless the
 * configuration opens more: a URL in a request must not reach what only this machine and its neighbours can
 * reach. Pure; names are resolved elsewhere, and what they resolve to is judged here.
 */

/** A range of addresses: the first `bits` bits of `bytes` (4 of IPv4, 16 of IPv6). */
export interface AddressRange {
  bytes: number[];
  bits: number;
}

/**
 * An address as bytes, most significant first; `undefined` for anything else. Takes what URLs and resolvers
 * give: dotted IPv4, IPv6 with `::`, a dotted tail or a zone, in brackets or not.
 */
export function parseAddress(text: string): number[] | undefined {
  const plain = text.replace(/^\[(.*)\]$/, "$1").replace(/%.*$/, "");
  return plain.includes(":") ? parseV6(plain) : parseV4(plain);
}

function parseV4(text: string): number[] | undefined {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255))
    return undefined;
  return parts.map(Number);
}

function parseV6(text: string): number[] | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const groups = (half: string): number[] | undefined => {
    const bytes: number[] = [];
    const parts = half === "" ? [] : half.split(":");
    for (const [index, part] of parts.entries()) {
      const v4 = index === parts.length - 1 && part.includes(".") ? parseV4(part) : undefined;
      if (v4) bytes.push(...v4);
      else if (/^[0-9a-f]{1,4}$/i.test(part))
        bytes.push(Number.parseInt(part, 16) >> 8, Number.parseInt(part, 16) & 0xff);
      else return undefined;
    }
    return bytes;
  };
  const head = groups(halves[0] ?? "");
  const tail = halves.length === 2 ? groups(halves[1] ?? "") : [];
  if (!head || !tail) return undefined;
  const zeros = 16 - head.length - tail.length;
  if (halves.length === 2 ? zeros < 2 : zeros !== 0) return undefined;
  return [...head, ...new Array<number>(zeros).fill(0), ...tail];
}

/** `10.0.0.0/8`, `fd00::/8`, or one address; `undefined` for anything else. */
function parseRange(text: string): AddressRange | undefined {
  const [address = "", prefix, ...rest] = text.trim().split("/");
  const bytes = parseAddress(address);
  if (!bytes || rest.length > 0) return undefined;
  if (prefix === undefined) return { bytes, bits: bytes.length * 8 };
  if (!/^\d{1,3}$/.test(prefix) || Number(prefix) > bytes.length * 8) return undefined;
  return { bytes, bits: Number(prefix) };
}

function within(address: number[], { bytes, bits }: AddressRange): boolean {
  if (address.length !== bytes.length) return false;
  for (let index = 0; index * 8 < bits; index++) {
    const kept = Math.min(8, bits - index * 8);
    const mask = (0xff << (8 - kept)) & 0xff;
    if (((address[index] ?? 0) & mask) !== ((bytes[index] ?? 0) & mask)) return false;
  }
  return true;
}

const range = (text: string): AddressRange => parseRange(text) as AddressRange;

/**
 * The special-purpose blocks of IPv4 (IANA registry, RFC 6890), and Azure's host, which answers for the
 * metadata of its machines.
 */
const SPECIAL_V4 = [
  "0.0.0.0/8", // this network, and the unspecified address
  "10.0.0.0/8",
  "100.64.0.0/10", // carrier-grade NAT; Alibaba's metadata
  "127.0.0.0/8",
  "168.63.129.16", // Azure's host
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
 * addresses lie outside it.
 */
const GLOBAL_V6 = range("2000::/3");
const SPECIAL_V6 = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"].map(range);
/** NAT64: an IPv6 network reaches the IPv4 address in the last four bytes through it (RFC 6052). */
const NAT64 = range("64:ff9b::/96");

/** Whether an address is one of the public Internet. */
function isPublicAddress(text: string): boolean {
  const address = parseAddress(text);
  if (!address) return false;
  if (address.length === 4) return !SPECIAL_V4.some((special) => within(address, special));
  if (within(address, NAT64)) return isPublicAddress(address.slice(12).join("."));
  return within(address, GLOBAL_V6) && !SPECIAL_V6.some((special) => within(address, special));
}

/** What may be reached beside the public Internet: everything, or these ranges. */
export type AllowedPrivate = "all" | readonly AddressRange[];

/** Whether a request may be sent to an address. `text` is an address, not a name. */
export function mayReach(text: string, allowed: AllowedPrivate): boolean {
  if (allowed === "all") return parseAddress(text) !== undefined;
  if (isPublicAddress(text)) return true;
  const address = parseAddress(text);
  return address !== undefined && allowed.some((open) => within(address, open));
}

/**
 * Reads the setting: `all`, or addresses and ranges (`10.1.0.0/16, ::1`) separated by commas; empty for none.
 *
 * @throws Error naming the part that is neither
 */
export function parseAllowedPrivate(text: string): AllowedPrivate {
  if (text.trim().toLowerCase() === "all") return "all";
  return text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "")
    .map((part) => {
      const parsed = parseRange(part);
      if (!parsed) throw new Error(`"${part}" is no address and no range like 10.0.0.0/8`);
      return parsed;
    });
}

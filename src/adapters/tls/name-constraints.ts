/** The names that a certificate authority may issue certificates for (RFC 5280 §4.2.1.10). */
import { isIP } from "node:net";
import { AsnConvert } from "@peculiar/asn1-schema";
import { GeneralName, GeneralSubtree, GeneralSubtrees, NameConstraints } from "@peculiar/asn1-x509";
import { Extension, type X509Certificate } from "@peculiar/x509";
import ipaddr from "ipaddr.js";

const OID = "2.5.29.30";

/**
 * Returns the subtree of names that permits a host name or an address: `10.0.0.1/32` for one address, and the
 * name itself for a host, which also permits the hosts below it.
 *
 * @example subtreeOf("*.example.com") // → "example.com"
 */
export function subtreeOf(name: string): string {
  if (!isIP(name)) return name.replace(/^\*\./, "").toLowerCase();
  const address = ipaddr.parse(name);
  return `${address.toString()}/${address.kind() === "ipv4" ? 32 : 128}`;
}

/** Returns the critical extension that permits these subtrees alone, of host names and addresses. */
export function nameConstraints(subtrees: readonly string[]): Extension {
  const constraints = new NameConstraints({
    permittedSubtrees: new GeneralSubtrees(subtrees.map(asSubtree)),
  });
  // A kind of name of which nothing is permitted would be free.
  if (!subtrees.some(isAddress))
    constraints.excludedSubtrees = new GeneralSubtrees(["0.0.0.0/0", "::/0"].map(asSubtree));
  return new Extension(OID, true, AsnConvert.serialize(constraints));
}

const isAddress = (subtree: string): boolean => subtree.includes("/");

const asSubtree = (subtree: string): GeneralSubtree =>
  new GeneralSubtree({
    base: new GeneralName(isAddress(subtree) ? { iPAddress: subtree } : { dNSName: subtree }),
  });

/** Reads the permitted subtrees of an authority; `undefined`: it may issue for every name. */
export function permittedNames(authority: X509Certificate): string[] | undefined {
  const extension = authority.getExtension(OID);
  if (!extension) return undefined;
  const { permittedSubtrees } = AsnConvert.parse(extension.value, NameConstraints);
  return permittedSubtrees?.map(({ base }) => {
    if (base.dNSName !== undefined) return base.dNSName;
    return ipaddr
      .parseCIDR(base.iPAddress ?? "")
      .map(String)
      .join("/");
  });
}

/**
 * A certificate authority of this installation. It serves clients that speak only TLS (fal's Python client)
 * and clients that require fal's host names, without a certificate from elsewhere.
 */
import "reflect-metadata"; // @peculiar/x509 needs it and does not import it
import { createPrivateKey, randomBytes, webcrypto, X509Certificate } from "node:crypto";
import { chmod, link, mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { isIP } from "node:net";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";
import type { Clock } from "../../core/operations/clock.ts";
import { nameConstraints, permittedNames, subtreeOf } from "./name-constraints.ts";

/** A certificate chain and its private key as PEM, for a TLS listener. */
export interface Certificate {
  cert: string;
  key: string;
}

export interface LocalAuthority {
  /** Path of the authority's certificate (PEM), which clients have to trust. */
  caFile: string;
  /**
   * Returns the stored server certificate, or a new one when that is missing, broken, lacks a wanted name, or
   * has less than a third of its time left. Renews the authority's certificate first, when that is due.
   * Several processes may call it at once; each gets a complete and valid certificate.
   */
  certificate(): Promise<Certificate>;
  /** Issues a new server certificate now. Clients need no change. */
  renew(): Promise<Certificate>;
}

const DAY_MS = 86_400_000;
/**
 * Lifetime of the authority's certificate. It is renewed under the same key, so that server certificates fit
 * the former one too: clients have a third of a year to read the new `ca.pem`.
 */
const AUTHORITY_MS = 365 * DAY_MS;
const RENEW_AUTHORITY_BEFORE_MS = 120 * DAY_MS;
const SERVER_MS = 90 * DAY_MS;
const RENEW_BEFORE_MS = 30 * DAY_MS;
/** Certificates begin an hour early, since the clocks of other machines may be behind. */
const BACKDATED_MS = 3_600_000;

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const SERVER_AUTHENTICATION = "1.3.6.1.5.5.7.3.1";

export interface LocalAuthorityOptions {
  /** Holds the authority; created when it is missing. */
  folder: string;
  /** Host names and IP addresses that the server certificate is for. */
  names: readonly string[];
  clock: Clock;
}

/**
 * Opens the authority in a folder, and creates it at the first use.
 *
 * Its certificate permits the wanted names and those of earlier calls, and no others: who takes its key
 * cannot answer in the place of the rest of the Internet. A new name, or less than a third of its time left,
 * renews it.
 *
 * The folder holds `ca.pem` (public), `ca-key.pem` and `server.pem` (certificate and private key together,
 * mode 0600, so that one rename replaces both). Rejects with an error whose message is a sentence when the
 * folder cannot be used, or the authority in it is broken or has expired.
 */
export async function openLocalAuthority(options: LocalAuthorityOptions): Promise<LocalAuthority> {
  const { folder, names, clock } = options;
  x509.cryptoProvider.set(webcrypto);
  const caFile = join(folder, "ca.pem");
  const serverFile = join(folder, "server.pem");
  const current = async (): Promise<Authority> => {
    const authority = await readAuthority(options);
    if ((await readFile(caFile, "utf8").catch(() => "")) !== authority.cert)
      await replaceFile(caFile, authority.cert, 0o644);
    return authority;
  };
  const issue = async (authority: Authority): Promise<Certificate> => {
    const made = await makeServerCertificate(authority, names, clock.nowMs(), authority.endsMs);
    await replaceFile(serverFile, made.cert + made.key, 0o600);
    return made;
  };
  await current();
  return {
    caFile,
    renew: async () => issue(await current()),
    async certificate() {
      const authority = await current();
      const stored = await readCertificate(serverFile);
      if (!stored?.parsed.verify(authority.parsed.publicKey)) return issue(authority);
      const named = new Set(stored.parsed.subjectAltName?.split(", "));
      const hasAllNames = names.every((name) =>
        isIP(name) ? stored.parsed.checkIP(name) : named.has(`DNS:${name}`),
      );
      const leftMs = Date.parse(stored.parsed.validTo) - clock.nowMs();
      return hasAllNames && leftMs >= RENEW_BEFORE_MS
        ? { cert: stored.cert, key: stored.key }
        : issue(authority);
    },
  };
}

/** An authority's certificate and key, and the end of its validity. */
interface Authority extends Certificate {
  parsed: X509Certificate;
  endsMs: number;
}

/** Reads the authority; creates it when it is missing, and renews its certificate when that is due. */
async function readAuthority({ folder, names, clock }: LocalAuthorityOptions): Promise<Authority> {
  const file = join(folder, "ca-key.pem");
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    if (!(await exists(file))) await makeAuthority(file, names, clock);
    await chmod(file, 0o600);
  } catch (error) {
    throw new Error(
      `The folder ${folder} cannot be written (${(error as Error).message}); ` +
        "set TEMPERA_DATA to one that can.",
      { cause: error },
    );
  }
  const authority = await readCertificate(file);
  const remedy =
    `remove ${folder} to get a new authority, which clients then have to trust anew, ` +
    "or set TEMPERA_TLS_CERT and TEMPERA_TLS_KEY";
  if (!authority) throw new Error(`${file} does not hold a certificate and its key; ${remedy}.`);
  const endsMs = Date.parse(authority.parsed.validTo);
  if (endsMs <= clock.nowMs())
    throw new Error(`The authority in ${file} was valid until ${authority.parsed.validTo}; ${remedy}.`);
  const permitted = permittedNames(new x509.X509Certificate(authority.cert));
  const lacksName = names.some((name) => !permitted?.includes(subtreeOf(name)));
  const isShort = endsMs - clock.nowMs() < RENEW_AUTHORITY_BEFORE_MS;
  if (!lacksName && !isShort) return { ...authority, endsMs };
  const key = await signingKeyOf(authority.key);
  const publicKey = await webcrypto.subtle.importKey(
    "spki",
    authority.parsed.publicKey.export({ type: "spki", format: "der" }),
    ALGORITHM,
    true,
    ["verify"],
  );
  const certificate = await signAuthority({
    name: new x509.X509Certificate(authority.cert).subject,
    keys: { privateKey: key, publicKey },
    permitted: [...new Set([...(permitted ?? []), ...names.map(subtreeOf)])],
    nowMs: clock.nowMs(),
  });
  const cert = pem(certificate);
  await replaceFile(file, cert + authority.key, 0o600);
  return {
    cert,
    key: authority.key,
    parsed: new X509Certificate(cert),
    endsMs: certificate.notAfter.getTime(),
  };
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** Creates the authority's key and certificate atomically, in one file. Of two processes one succeeds. */
async function makeAuthority(file: string, names: readonly string[], clock: Clock): Promise<void> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await signAuthority({
    // People see the name in their trust store, so it must differ from that of another installation.
    name: `CN=Tempera local authority ${randomBytes(3).toString("hex")}`,
    keys,
    permitted: names.map(subtreeOf),
    nowMs: clock.nowMs(),
  });
  const draft = `${file}.${randomBytes(6).toString("hex")}`;
  try {
    await writeFile(draft, pem(certificate) + (await pemKey(keys.privateKey)), {
      mode: 0o600,
      flag: "wx",
      flush: true,
    });
    await link(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

/**
 * Signs an authority's certificate with its own key: it may issue certificates of servers alone, for the
 * permitted names (RFC 5280 §4.2.1.10), and no further authorities.
 */
async function signAuthority({
  name,
  keys,
  permitted,
  nowMs,
}: {
  name: string;
  keys: webcrypto.CryptoKeyPair;
  permitted: readonly string[];
  nowMs: number;
}): Promise<x509.X509Certificate> {
  return x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name,
    notBefore: new Date(nowMs - BACKDATED_MS),
    notAfter: new Date(nowMs + AUTHORITY_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      new x509.ExtendedKeyUsageExtension([SERVER_AUTHENTICATION]),
      nameConstraints(permitted),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
}

async function makeServerCertificate(
  authority: { cert: string; key: string },
  names: readonly string[],
  nowMs: number,
  authorityEndsMs: number,
): Promise<Certificate> {
  const issuer = new x509.X509Certificate(authority.cert);
  const signingKey = await signingKeyOf(authority.key);
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: "CN=Tempera",
    issuer: issuer.subject,
    notBefore: new Date(nowMs - BACKDATED_MS),
    notAfter: new Date(Math.min(nowMs + SERVER_MS, authorityEndsMs)),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: signingKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([SERVER_AUTHENTICATION]),
      new x509.SubjectAlternativeNameExtension(
        names.map((value) => ({ type: isIP(value) ? "ip" : "dns", value })),
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
    ],
  });
  return { cert: pem(certificate), key: await pemKey(keys.privateKey) };
}

const signingKeyOf = (key: string): Promise<webcrypto.CryptoKey> => {
  const der = createPrivateKey(key).export({ type: "pkcs8", format: "der" });
  return webcrypto.subtle.importKey("pkcs8", der, ALGORITHM, false, ["sign"]);
};

/** Returns 159 random bits: positive and unique (RFC 5280 §4.1.2.2). */
const serialNumber = (): string => {
  const bytes = randomBytes(20);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString("hex");
};

const pem = (certificate: x509.X509Certificate): string => `${certificate.toString("pem").trim()}\n`;

const pemKey = async (key: webcrypto.CryptoKey): Promise<string> =>
  `${x509.PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY").trim()}\n`;

/**
 * Reads a certificate and its key from one file. Returns `undefined` when the file does not hold both, or
 * they do not belong together.
 */
async function readCertificate(
  file: string,
): Promise<(Certificate & { parsed: X509Certificate }) | undefined> {
  const text = await readFile(file, "utf8").catch(() => "");
  const at = text.indexOf("-----BEGIN PRIVATE KEY-----");
  if (at < 0) return undefined;
  const [cert, key] = [text.slice(0, at), text.slice(at)];
  try {
    const parsed = new X509Certificate(cert);
    return parsed.checkPrivateKey(createPrivateKey(key)) ? { cert, key, parsed } : undefined;
  } catch {
    return undefined;
  }
}

/** Replaces a file atomically: readers see the old or the new content, also when this process is killed. */
async function replaceFile(file: string, content: string, mode: number): Promise<void> {
  const draft = `${file}.${randomBytes(6).toString("hex")}`;
  try {
    await writeFile(draft, content, { mode, flag: "wx", flush: true });
    await rename(draft, file);
  } finally {
    await rm(draft, { force: true });
  }
}

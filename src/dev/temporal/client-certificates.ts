/** Certificates by which the embedded Temporal knows its platform. */
import "reflect-metadata"; // @peculiar/x509 needs it and does not import it
import { webcrypto } from "node:crypto";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";

interface Certified {
  cert: string;
  key: string;
}

/** PEM texts: an authority's certificate, and what it issued. Its key exists no more. */
export interface ClientCertificates {
  ca: string;
  server: Certified;
  client: Certified;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const [SERVER, CLIENT] = ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"];
/** Longer than any process runs. They are made anew at each start. */
const VALID_MS = 3650 * 86_400_000;

/**
 * Makes an authority, the certificate of a server `localhost` and that of its client. Keeps those of the
 * client in a folder (mode 0700), for tools: `ca.pem`, `client.pem`, `client-key.pem`.
 */
export async function makeClientCertificates(folder: string): Promise<ClientCertificates> {
  x509.cryptoProvider.set(webcrypto);
  const keys = await newKeys();
  const span = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + VALID_MS) };
  const authority = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: "01",
    name: "CN=Embedded Temporal",
    ...span,
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
    ],
  });
  const issue = async (serialNumber: string, use: string): Promise<Certified> => {
    const own = await newKeys();
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber,
      subject: "CN=localhost",
      issuer: authority.subject,
      ...span,
      signingAlgorithm: ALGORITHM,
      publicKey: own.publicKey,
      signingKey: keys.privateKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.ExtendedKeyUsageExtension([use]),
        new x509.SubjectAlternativeNameExtension([{ type: "dns", value: "localhost" }]),
      ],
    });
    const bytes = await webcrypto.subtle.exportKey("pkcs8", own.privateKey);
    return { cert: pemOf(certificate), key: `${x509.PemConverter.encode(bytes, "PRIVATE KEY").trim()}\n` };
  };
  const [server, client] = await Promise.all([issue("02", SERVER), issue("03", CLIENT)]);
  const ca = pemOf(authority);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const files = { "ca.pem": ca, "client.pem": client.cert, "client-key.pem": client.key };
  for (const [name, text] of Object.entries(files)) {
    await rm(join(folder, name), { force: true });
    await writeFile(join(folder, name), text, { mode: 0o600 });
  }
  return { ca, server, client };
}

const newKeys = () => webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
const pemOf = (certificate: x509.X509Certificate): string => `${certificate.toString("pem").trim()}\n`;

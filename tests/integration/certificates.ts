/** A certificate authority for one test, which issues certificates for servers and clients. */
import "reflect-metadata"; // @peculiar/x509 needs it and does not import it
import { randomBytes, webcrypto } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const SERVER = "1.3.6.1.5.5.7.3.1";
const CLIENT = "1.3.6.1.5.5.7.3.2";

export interface TestAuthority {
  /** Its certificate, PEM. */
  ca: string;
  /** Path of a file with its certificate. */
  caFile: string;
  /** Issues a certificate for host names or addresses; returns PEM texts and paths of files with them. */
  issue(
    name: string,
    names: string[],
    use: "server" | "client",
  ): Promise<{ cert: string; key: string; certFile: string; keyFile: string }>;
}

export async function createTestAuthority(folder: string, name: string): Promise<TestAuthority> {
  x509.cryptoProvider.set(webcrypto);
  const newKeys = () => webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const span = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 86_400_000) };
  const serial = () => `0${randomBytes(8).toString("hex")}`;
  const own = await newKeys();
  const authority = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: `CN=${name}`,
    ...span,
    signingAlgorithm: ALGORITHM,
    keys: own,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
    ],
  });
  const keep = async (file: string, text: string): Promise<string> => {
    const path = join(folder, `${name}-${file}.pem`);
    await writeFile(path, text, { mode: 0o600 });
    return path;
  };
  const ca = `${authority.toString("pem")}\n`;
  return {
    ca,
    caFile: await keep("ca", ca),
    async issue(subject, names, use) {
      const keys = await newKeys();
      const certificate = await x509.X509CertificateGenerator.create({
        serialNumber: serial(),
        subject: `CN=${subject}`,
        issuer: authority.subject,
        ...span,
        signingAlgorithm: ALGORITHM,
        publicKey: keys.publicKey,
        signingKey: own.privateKey,
        extensions: [
          new x509.ExtendedKeyUsageExtension([use === "server" ? SERVER : CLIENT]),
          new x509.SubjectAlternativeNameExtension(
            names.map((each) => ({
              type: /^[\d.]+$/.test(each) ? ("ip" as const) : ("dns" as const),
              value: each,
            })),
          ),
        ],
      });
      const cert = `${certificate.toString("pem")}\n`;
      const bytes = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
      const lines = bytes
        .toString("base64")
        .match(/.{1,64}/g)
        ?.join("\n");
      const key = `-----BEGIN PRIVATE KEY-----\n${lines}\n-----END PRIVATE KEY-----\n`;
      return {
        cert,
        key,
        certFile: await keep(`${subject}-cert`, cert),
        keyFile: await keep(`${subject}-key`, key),
      };
    },
  };
}

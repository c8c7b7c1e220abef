import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Certificate } from "./local-authority.ts";

/**
 * Reads a certificate that another authority issued. Rejects with an error whose message is a sentence when a
 * file cannot be read or has other content, or when the key belongs to another certificate.
 *
 * @param files paths of PEM files: the chain, with the server's certificate first, and its unencrypted key
 */
export async function readOwnCertificate(files: { cert: string; key: string }): Promise<Certificate> {
  // One after the other, so that of two missing files the same one is always named.
  const cert = await read(
    files.cert,
    "TEMPERA_TLS_CERT",
    "a certificate",
    (text) => new X509Certificate(text),
  );
  const key = await read(files.key, "TEMPERA_TLS_KEY", "an unencrypted private key", (text) =>
    createPrivateKey(text),
  );
  if (!new X509Certificate(cert).checkPrivateKey(createPrivateKey(key)))
    throw new Error(
      `TEMPERA_TLS_KEY (${files.key}) is not the key of the first certificate ` +
        `in TEMPERA_TLS_CERT (${files.cert}).`,
    );
  return { cert, key };
}

async function read(
  file: string,
  setting: string,
  what: string,
  parse: (text: string) => unknown,
): Promise<string> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new Error(`${setting} names ${file}, which cannot be read (${error.code}); correct it.`, {
      cause: error,
    });
  });
  try {
    parse(text);
  } catch (error) {
    throw new Error(`${setting} names ${file}, which does not hold ${what} as PEM; correct it.`, {
      cause: error,
    });
  }
  return text;
}

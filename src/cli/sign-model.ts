/** Keys that sign model packages, and signatures of packages on this disk. */
import { createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PACKAGE_TEXTS } from "../core/models/published-version.ts";
import { keyIdOf, publicKeyText } from "../core/models/trusted-keys.ts";
import { SIGNATURE_FILE, signPackage } from "../registry/packages/package-signature.ts";
import { type ModelFolder, readModelFolder, textsOf } from "./pack-model.ts";

/**
 * Makes a key pair: the private key in `file` (PKCS#8, readable by its owner alone), the public one in
 * `file.pub`. Throws when one of them exists.
 */
export function makeSigningKey(file: string): { keyId: string; publicKey: string } {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const text = publicKeyText(publicKey);
  try {
    writeFileSync(file, privateKey.export({ format: "pem", type: "pkcs8" }), { flag: "wx", mode: 0o600 });
    writeFileSync(`${file}.pub`, `${text}\n`, { flag: "wx", mode: 0o644 });
  } catch (error) {
    const { code, path, message } = error as NodeJS.ErrnoException;
    if (code !== "EEXIST") throw new Error(`The key cannot be written: ${message}.`);
    throw new Error(`There is a ${path} already; name another file, a key is not overwritten.`);
  }
  return { keyId: keyIdOf(publicKey), publicKey: text };
}

/**
 * Signs a package.
 *
 * @param keyFile a private Ed25519 key in PEM, as `makeSigningKey` makes it
 */
export function signatureOf(folder: ModelFolder, keyFile: string): string {
  const texts = textsOf(folder);
  const missing = PACKAGE_TEXTS.filter((path) => texts[path] === undefined);
  if (missing.length > 0)
    throw new Error(`${missing.join(", ")}: missing; add it to the package, then sign.`);
  return signPackage(texts, folder, signingKeyIn(keyFile));
}

/** Signs a package folder: writes `signature.dsse.json` into it. Returns what was signed. */
export function signModelFolder(folder: string, schemasFolder: string, keyFile: string): ModelFolder {
  const model = readModelFolder(folder, schemasFolder);
  writeFileSync(join(folder, SIGNATURE_FILE), signatureOf(model, keyFile));
  return model;
}

function signingKeyIn(file: string) {
  try {
    const privateKey = createPrivateKey(readFileSync(file));
    if (privateKey.asymmetricKeyType === "ed25519")
      return { privateKey, publicKey: createPublicKey(privateKey) };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "EACCES") throw new Error(`The key cannot be read: ${message}.`);
  }
  throw new Error(
    `${file} is no private Ed25519 key in PEM; make one with \`tempera models keygen <file>\`.`,
  );
}

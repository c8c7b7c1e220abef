import { generateKeyPairSync } from "node:crypto";
import { expect, it } from "vitest";
import { keyIdOf, parseTrustedKeys, publicKeyText } from "./trusted-keys.ts";

const [ONE, TWO] = [generateKeyPairSync("ed25519"), generateKeyPairSync("ed25519")] as const;
const pem = (key: typeof ONE.publicKey): string => key.export({ format: "pem", type: "spki" }) as string;

it.each([
  ["lines of base64", `${publicKeyText(ONE.publicKey)}, ${publicKeyText(TWO.publicKey)}`],
  ["PEM blocks, as a file has them", pem(ONE.publicKey) + pem(TWO.publicKey)],
])("reads %s", (_, text) =>
  expect(parseTrustedKeys(text).map(keyIdOf)).toEqual([ONE, TWO].map(({ publicKey }) => keyIdOf(publicKey))),
);

it.each([
  ["a private key", ONE.privateKey.export({ format: "pem", type: "pkcs8" }) as string],
  ["a key of another kind", pem(generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey)],
  ["a key after a good one", `${publicKeyText(ONE.publicKey)},AAAA`],
  ["no key at all", " , "],
])("refuses %s", (_, text) => expect(() => parseTrustedKeys(text)).toThrow(/must (be|have)/));

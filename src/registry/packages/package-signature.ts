/**
 * Signatures of model packages: a DSSE envelope (Dead Simple Signing Envelope, v1) around an in-toto
 * statement (v1), signed with Ed25519 (RFC 8032). The statement names endpoint, version and the SHA-256 of
 * each text of the package; `model.yaml` names that of each weight file. What is signed is the statement's
 * bytes, so nothing depends on how a JSON text is written.
 */
import { createHash, type KeyObject, sign, verify } from "node:crypto";
import { parseJson, writeJson } from "../../core/json/exact-json.ts";
import { isObject, type Json } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import { PACKAGE_TEXTS, type PackageTexts } from "../../core/models/published-version.ts";
import { keyIdOf } from "../../core/models/trusted-keys.ts";

/** The file of a package that holds its signature. */
export const SIGNATURE_FILE = "signature.dsse.json";

const PAYLOAD_TYPE = "application/vnd.in-toto+json";
const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";
/** Keeps statements of another purpose, signed with the same key, from being taken for packages. */
const PREDICATE_TYPE = "urn:tempera:model-package:v1";

/** The version that a signature is for. */
export interface SignedName {
  endpoint: string;
  version: string;
}

/**
 * Checks the signature of a package. Gives the version that it is for, or a fault: a sentence that names the
 * file and the remedy. The caller compares the version with that of `model.yaml`.
 */
export type SignatureCheck = (
  texts: PackageTexts,
  signature: string | undefined,
) => SignedName | { fault: string };

const SIGN = "sign it (`tempera models sign`, or `tempera models push --sign-key`)";

/** Writes the signature file of a package. */
export function signPackage(texts: PackageTexts, name: SignedName, keys: KeyObjectPair): string {
  const statement = {
    _type: STATEMENT_TYPE,
    subject: PACKAGE_TEXTS.map((path) => ({ name: path, digest: { sha256: sha256Of(texts[path] ?? "") } })),
    predicateType: PREDICATE_TYPE,
    predicate: { endpoint: name.endpoint, version: name.version },
  };
  const payload = Buffer.from(writeJson(statement));
  const sig = sign(null, preAuthenticationEncoding(payload), keys.privateKey).toString("base64");
  const envelope = {
    payloadType: PAYLOAD_TYPE,
    payload: payload.toString("base64"),
    signatures: [{ keyid: keyIdOf(keys.publicKey), sig }],
  };
  return `${writeJson(envelope)}\n`;
}

interface KeyObjectPair {
  privateKey: KeyObject;
  publicKey: KeyObject;
}

/** Creates the check against the trusted keys; any of them is enough. */
export function createSignatureCheck(trusted: readonly KeyObject[]): SignatureCheck {
  return (texts, signature) => {
    if (signature === undefined) return fault(`missing: this server serves signed packages only; ${SIGN}`);
    if (signature.length > LIMITS.packageSignatureBytesMax)
      return fault(`has more than ${LIMITS.packageSignatureBytesMax} bytes; ${SIGN}`);
    const envelope = envelopeOf(signature);
    if (!envelope) return fault(`is not a DSSE envelope of an in-toto statement; ${SIGN}`);
    const bytes = preAuthenticationEncoding(envelope.payload);
    const isTrusted = envelope.signatures.some(({ sig }) =>
      trusted.some((key) => verify(null, bytes, key, sig)),
    );
    if (!isTrusted)
      return fault(
        `is not by a trusted key (it names ${envelope.signatures.map(({ keyid }) => keyid).join(", ")}); ` +
          "sign it with a trusted key, or add its public key to TEMPERA_REGISTRY_TRUSTED_KEYS",
      );
    return signedName(envelope.payload, texts);
  };
}

/** Reads the statement of a verified envelope, and compares it with the texts. */
function signedName(payload: Buffer, texts: PackageTexts): SignedName | { fault: string } {
  const statement = objectOf(payload.toString("utf8"));
  const { predicate, subject } = statement ?? {};
  if (
    statement?._type !== STATEMENT_TYPE ||
    statement.predicateType !== PREDICATE_TYPE ||
    !isObject(predicate) ||
    typeof predicate.endpoint !== "string" ||
    typeof predicate.version !== "string" ||
    !Array.isArray(subject)
  )
    return fault(`is a statement about something else than a model package; ${SIGN}`);
  for (const path of PACKAGE_TEXTS) {
    const named = subject.filter(
      (each): each is Record<string, Json> => isObject(each) && each.name === path,
    );
    const [digest] = named.map((each) => (isObject(each.digest) ? each.digest.sha256 : undefined));
    const text = texts[path];
    if (named.length !== 1 || text === undefined || digest !== sha256Of(text))
      return fault(`is for another ${path} than that of this package; ${SIGN}`);
  }
  return { endpoint: predicate.endpoint, version: predicate.version };
}

interface Envelope {
  payload: Buffer;
  signatures: { keyid: string; sig: Buffer }[];
}

function envelopeOf(text: string): Envelope | undefined {
  const { payloadType, payload, signatures } = objectOf(text) ?? {};
  if (payloadType !== PAYLOAD_TYPE || typeof payload !== "string" || !Array.isArray(signatures))
    return undefined;
  if (signatures.length === 0 || signatures.length > LIMITS.packageSignaturesMax) return undefined;
  return {
    payload: Buffer.from(payload, "base64"),
    signatures: signatures.map((each) => {
      const { keyid, sig } = isObject(each) ? each : {};
      return {
        keyid: typeof keyid === "string" && /^[\w.:=/+-]{1,100}$/.test(keyid) ? keyid : "no key",
        sig: Buffer.from(typeof sig === "string" ? sig : "", "base64"),
      };
    }),
  };
}

function objectOf(text: string): Record<string, Json | undefined> | undefined {
  try {
    const value = parseJson(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The bytes that DSSE signs: type and payload, each with its length. */
function preAuthenticationEncoding(payload: Buffer): Buffer {
  return Buffer.concat([
    Buffer.from(`DSSEv1 ${Buffer.byteLength(PAYLOAD_TYPE)} ${PAYLOAD_TYPE} ${payload.length} `),
    payload,
  ]);
}

const sha256Of = (text: string): string => createHash("sha256").update(text).digest("hex");

const fault = (text: string): { fault: string } => ({ fault: `${SIGNATURE_FILE}: ${text}` });

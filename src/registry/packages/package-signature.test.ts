import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { describe, expect, it } from "vitest";
import type { PackageTexts } from "../../core/models/published-version.ts";
import { createSignatureCheck, signPackage } from "./package-signature.ts";

const TEXTS: PackageTexts = {
  "model.yaml": "endpoint: acme/echo\nversion: 1.0.0\n",
  "schemas/input.json": "{}",
  "schemas/output.json": '{"a":1}',
};
const NAME = { endpoint: "acme/echo", version: "1.0.0" };
const OURS = generateKeyPairSync("ed25519");
const NEXT = generateKeyPairSync("ed25519");
const STRANGERS = generateKeyPairSync("ed25519");

const check = (signature: string | undefined, texts = TEXTS, trusted: KeyObject[] = [OURS.publicKey]) =>
  createSignatureCheck(trusted)(texts, signature);
const faultOf = (...args: Parameters<typeof check>): string => {
  const result = check(...args);
  return "fault" in result ? result.fault : "accepted";
};
const envelopeOf = (text: string) =>
  JSON.parse(text) as { payloadType: string; payload: string; signatures: { keyid: string; sig: string }[] };

/** Signs any payload under any type, as DSSE does. */
function signed(payload: string, type = "application/vnd.in-toto+json", key = OURS.privateKey): string {
  const bytes = Buffer.from(payload);
  const encoded = Buffer.concat([Buffer.from(`DSSEv1 ${type.length} ${type} ${bytes.length} `), bytes]);
  const sig = sign(null, encoded, key).toString("base64");
  return JSON.stringify({ payloadType: type, payload: bytes.toString("base64"), signatures: [{ sig }] });
}

describe("a package that a trusted key signed", () => {
  it("is accepted with the name that was signed", () =>
    expect(check(signPackage(TEXTS, NAME, OURS))).toEqual(NAME));

  it("is accepted while keys are rotated: by the old key and by the new one", () => {
    const trusted = [NEXT.publicKey, OURS.publicKey];
    for (const pair of [OURS, NEXT])
      expect(check(signPackage(TEXTS, NAME, pair), TEXTS, trusted)).toEqual(NAME);
    expect(faultOf(signPackage(TEXTS, NAME, OURS), TEXTS, [NEXT.publicKey])).toContain(
      "not by a trusted key",
    );
  });

  it("is accepted with the signature of a stranger beside it", () => {
    const ours = envelopeOf(signPackage(TEXTS, NAME, OURS));
    const theirs = envelopeOf(signPackage(TEXTS, NAME, STRANGERS));
    expect(
      check(JSON.stringify({ ...ours, signatures: [...theirs.signatures, ...ours.signatures] })),
    ).toEqual(NAME);
  });

  it("has the statement that any program for in-toto can read", () => {
    const { payload } = envelopeOf(signPackage(TEXTS, NAME, OURS));
    expect(JSON.parse(Buffer.from(payload, "base64").toString())).toMatchObject({
      _type: "https://in-toto.io/Statement/v1",
      subject: [
        { name: "model.yaml", digest: { sha256: expect.stringMatching(/^[0-9a-f]{64}$/) } },
        { name: "schemas/input.json" },
        { name: "schemas/output.json" },
      ],
      predicate: NAME,
    });
  });
});

describe("a package is refused, with the remedy,", () => {
  it("without a signature", () =>
    expect(faultOf(undefined)).toMatch(/^signature\.dsse\.json: missing: .*tempera models sign/));

  it("with the signature of a stranger, also under the id of a trusted key", () => {
    const theirs = envelopeOf(signPackage(TEXTS, NAME, STRANGERS));
    const ours = envelopeOf(signPackage(TEXTS, NAME, OURS));
    const [{ keyid } = { keyid: "" }] = ours.signatures;
    const forged = { ...theirs, signatures: theirs.signatures.map(({ sig }) => ({ keyid, sig })) };
    for (const envelope of [theirs, forged])
      expect(faultOf(JSON.stringify(envelope))).toMatch(
        /not by a trusted key .*TEMPERA_REGISTRY_TRUSTED_KEYS/,
      );
  });

  it.each(Object.keys(TEXTS) as (keyof PackageTexts)[])("with another %s than was signed", (path) => {
    const signature = signPackage(TEXTS, NAME, OURS);
    const { [path]: text = "", ...others } = TEXTS;
    expect(faultOf(signature, { ...others, [path]: `${text} ` })).toContain(`is for another ${path}`);
    expect(faultOf(signature, others)).toContain(`is for another ${path}`);
  });

  it("with the signature of another version", () => {
    const texts = { ...TEXTS, "model.yaml": "endpoint: acme/echo\nversion: 2.0.0\n" };
    expect(faultOf(signPackage(texts, { ...NAME, version: "2.0.0" }, OURS))).toContain(
      "is for another model.yaml",
    );
  });

  it("with a statement that was changed after its signature", () => {
    const envelope = envelopeOf(signPackage(TEXTS, NAME, OURS));
    const statement = Buffer.from(envelope.payload, "base64").toString().replace("acme/echo", "acme/evil");
    const payload = Buffer.from(statement).toString("base64");
    expect(faultOf(JSON.stringify({ ...envelope, payload }))).toContain("not by a trusted key");
  });

  it.each<[string, string]>([
    [
      "that the key signed for another purpose",
      '{"_type":"https://in-toto.io/Statement/v1","predicateType":"x"}',
    ],
    ["that is no statement", "hello"],
  ])("with a text %s", (_, payload) =>
    expect(faultOf(signed(payload))).toContain("about something else than a model package"),
  );

  it("with a statement under another type, which DSSE signs too", () => {
    const { payload } = envelopeOf(signPackage(TEXTS, NAME, OURS));
    const other = signed(Buffer.from(payload, "base64").toString(), "text/plain");
    expect(faultOf(other)).toContain("is not a DSSE envelope");
    const relabelled = { ...envelopeOf(other), payloadType: "application/vnd.in-toto+json" };
    expect(faultOf(JSON.stringify(relabelled))).toContain("not by a trusted key");
  });

  it("with one file named twice, of which one would be the right one", () => {
    const { payload } = envelopeOf(signPackage(TEXTS, NAME, OURS));
    const statement = JSON.parse(Buffer.from(payload, "base64").toString()) as { subject: object[] };
    statement.subject.push({ name: "model.yaml", digest: { sha256: "0".repeat(64) } });
    expect(faultOf(signed(JSON.stringify(statement)))).toContain("is for another model.yaml");
  });

  it.each<[string, string]>([
    ["no JSON", "-----BEGIN"],
    ["an empty list of signatures", JSON.stringify({ ...envelopeOf(signed("{}")), signatures: [] })],
    [
      "more signatures than are tried",
      JSON.stringify({ ...envelopeOf(signed("{}")), signatures: Array(17).fill({}) }),
    ],
    ["brackets without end", "[".repeat(60_000)],
  ])("with %s for an envelope", (_, text) => expect(faultOf(text)).toContain("is not a DSSE envelope"));

  it("with an envelope that is too large to be read", () =>
    expect(faultOf(" ".repeat(70_000))).toMatch(/has more than 65536 bytes/));
});

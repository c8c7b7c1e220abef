import { describe, expect, it } from "vitest";
import { createSignAddress, SIGNATURE_MARK, withoutOwnSignatures } from "./private-address.ts";
import { createSignatures } from "./signatures.ts";

const FILE_ID = "0123456789abcdef".repeat(2);
const ADDRESS = `https://files.example.com/files/${FILE_ID}/a.png`;
let nowMs = 1_000_000;
const clock = { nowMs: () => nowMs };
const secret = Buffer.alloc(32);
const signatures = createSignatures({ secret, clock });
const sign = createSignAddress({ secret, clock, seconds: () => 60 });

describe("a private address", () => {
  it("opens its file on its owner's behalf, for a time", () => {
    const signed = new URL(sign(ADDRESS + SIGNATURE_MARK, "ann"));
    const identity = signed.searchParams.get("identity") ?? undefined;
    expect(signed.origin + signed.pathname).toBe(ADDRESS);
    expect(signatures.identityOf(FILE_ID, identity)).toBe("ann");
    expect(signatures.identityOf(FILE_ID.replace("0", "1"), identity)).toBeUndefined();
    nowMs += 60_000;
    expect(signatures.identityOf(FILE_ID, identity)).toBeUndefined();
  });

  it.each([
    ADDRESS,
    `${ADDRESS}?identity`,
    `${ADDRESS}?identity=1.x.y`,
    "https://files.example.com/files/upload?identity=",
    `see ${FILE_ID}/a b?identity=`,
  ])("is nothing else: %s", (text) => expect(sign(text, "ann")).toBe(text));
});

describe("an input", () => {
  const signed = (owner: string, atMs: number) => ADDRESS + signatures.identityQuery(FILE_ID, owner, atMs);

  it("is the same, whenever its owner's addresses were signed", () => {
    const input = (atMs: number) => ({
      image_url: signed("ann", atMs),
      deep: [{ text: signed("ann", atMs) }],
      n: 1n,
    });
    const plain = { image_url: ADDRESS + SIGNATURE_MARK, deep: [{ text: ADDRESS + SIGNATURE_MARK }], n: 1n };
    expect(withoutOwnSignatures(input(1_000), "ann")).toEqual(plain);
    expect(withoutOwnSignatures(input(9_000_000), "ann")).toEqual(plain);
  });

  it("keeps another owner's signature, which opens that owner's file", () => {
    const input = { image_url: signed("bob", 1_000) };
    expect(withoutOwnSignatures(input, "ann")).toBe(input);
  });

  it("keeps the order and the names of its fields", () => {
    const text = `{"a":1,"__proto__":{"b":"${signed("ann", 1_000)}"},"c":2}`;
    expect(JSON.stringify(withoutOwnSignatures(JSON.parse(text), "ann"))).toBe(
      `{"a":1,"__proto__":{"b":"${ADDRESS}${SIGNATURE_MARK}"},"c":2}`,
    );
  });

  it("is not copied when nothing in it is signed", () => {
    const input = { a: [1, { b: ["x", null, true] }], c: "?identity=" };
    expect(withoutOwnSignatures(input, "ann")).toBe(input);
  });
});

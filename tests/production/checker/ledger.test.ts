import { expect, it } from "vitest";
import { digestOf } from "./ledger.ts";

const image = (query: string) => ({ images: [{ url: `http://gateway/files/b/a.png${query}`, width: 8 }] });

it("takes a private address for the same, whenever it was signed", () => {
  const signed = [image("?identity=1764489600.YW5u.c2ln-_A"), image("?identity=1764489700.YW5u.b3RoZXI")];
  expect(new Set([...signed, image("?identity=")].map(digestOf)).size).toBe(1);
});

it("tells other files, and other values, apart", () => {
  const values = [image(""), image("?identity="), { images: [] }, { ...image(""), seed: 1 }];
  expect(new Set(values.map(digestOf)).size).toBe(values.length);
});

import { expect, it } from "vitest";
import { createSignedText } from "./signed-text.ts";

const ROOT = "https://files.example.com/files/";
const ID = "0123456789abcdef".repeat(2);
const MARKED = `${ROOT}${ID}/a.png?identity=`;
let signatures = 0;
const signedText = () =>
  createSignedText(
    { signAddress: (address, ownerId) => `${address}${ownerId}-${++signatures}`, roots: [ROOT] },
    "ann",
  );

const OUTPUT = {
  note: `é "${MARKED}" ${MARKED}`,
  url: MARKED,
  same: MARKED,
  urls: [MARKED.replace("a.png", "b.png"), "https://evil.example/files/x?identity="],
  long: "x".repeat(5_000),
};

async function* inChunks(text: string, size: number): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

it("signs the private addresses of an output, and nothing that only contains one", () => {
  signatures = 0;
  expect(JSON.parse(signedText().of(JSON.stringify(OUTPUT)))).toEqual({
    ...OUTPUT,
    url: `${MARKED}ann-1`,
    same: `${MARKED}ann-1`,
    urls: [`${MARKED.replace("a.png", "b.png")}ann-2`, OUTPUT.urls[1]],
  });
});

it.each([1, 7, 64, 1_000_000])("does the same in chunks of %i bytes, each time alike", async (size) => {
  const signed = signedText();
  const whole = signed.of(JSON.stringify(OUTPUT));
  for (let read = 0; read < 2; read++) {
    const chunks: Buffer[] = [];
    for await (const chunk of signed.ofChunks(inChunks(JSON.stringify(OUTPUT), size))) chunks.push(chunk);
    expect(Buffer.concat(chunks).toString()).toBe(whole);
  }
});

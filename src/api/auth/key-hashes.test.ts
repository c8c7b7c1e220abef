import { expect, it } from "vitest";
import { createKeyHashes } from "./key-hashes.ts";

it("recognises a secret each time and a wrong one never, whatever was recognised before", () => {
  const hashes = createKeyHashes(["a pepper"]);
  const [first, second] = [hashes.digest("first"), hashes.digest("second")];
  for (let i = 0; i < 3; i++) {
    expect(hashes.matches(first, "second")).toBe(false);
    expect(hashes.matches(first, "first")).toBe(true);
    expect(hashes.matches(second, "first")).toBe(false);
    expect(hashes.matches({ secretSha256: "" }, "first")).toBe(false);
  }
  expect(hashes.matches(second, "second")).toBe(true);
});

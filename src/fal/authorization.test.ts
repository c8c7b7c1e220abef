import { describe, expect, it } from "vitest";
import { readAuthorization } from "./authorization.ts";

const ID = "6f1c2b3a-0000-4000-8000-00000000000a";
const SECRET = "0".repeat(64);

describe("the authorization header", () => {
  it.each([
    `Key ${ID}:${SECRET}`,
    `key ${ID}:${SECRET}`,
    `Bearer ${ID}:${SECRET}`,
    `  Key \t ${ID.toUpperCase()}:${SECRET}  `,
  ])("%j is read", (header) =>
    expect(readAuthorization(header, undefined)).toEqual({ keyId: ID, secret: SECRET }),
  );

  it("keeps a secret that has colons of its own", () =>
    expect(readAuthorization(`Key ${ID}:a:b:c`, undefined).secret).toBe("a:b:c"));

  it.each([undefined, ""])("%j is missing, and the sentence names the application", (header) => {
    expect(() => readAuthorization(header, "fal-ai/x")).toThrow(
      expect.objectContaining({
        code: "key_missing",
        message:
          'Cannot access application "fal-ai/x". Authentication is required to access this application.',
      }),
    );
    expect(() => readAuthorization(header, undefined)).toThrow(
      expect.objectContaining({ code: "key_missing" }),
    );
  });

  it.each([
    "Key",
    "Key ",
    `Key ${ID}`,
    `Key ${ID}:`,
    `Key :${SECRET}`,
    `Key ${SECRET}`,
    `Key${ID}:${SECRET}`,
    `${ID}:${SECRET}`,
    `Basic ${ID}:${SECRET}`,
    `Key ${ID} : ${SECRET}`,
    `Key ${ID}:a b`,
    `Key ${ID}:${SECRET}, Key ${ID}:${SECRET}`,
    `Key not-a-uuid:${SECRET}`,
    `Key ${ID}x:${SECRET}`,
    `Key ' OR 1=1:${SECRET}`,
    "Key eyJhbGciOiJIUzI1NiJ9.e30.x",
    `Key ${"a".repeat(8000)}`,
  ])("%s is malformed", (header) =>
    expect(() => readAuthorization(header, undefined)).toThrow(
      expect.objectContaining({ code: "key_malformed" }),
    ),
  );
});

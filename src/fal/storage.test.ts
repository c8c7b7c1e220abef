import { describe, expect, it } from "vitest";
import { resolveLifecycle } from "./storage.ts";

const NAME = "X-Fal-Object-Lifecycle-Preference";
const read = (value: unknown) => resolveLifecycle(JSON.stringify(value), NAME, undefined);

describe("a lifecycle preference", () => {
  it.each([
    [{ acl: { default: "hide" } }, ["acl"]],
    [{ initial_acl: { defualt: "hide" } }, ["initial_acl", "defualt"]],
    [{ initial_acl: { rules: [{ user: "a", decison: "allow" }] } }, ["initial_acl", "rules", 0, "decison"]],
    [{ expiration_seconds: 60 }, ["expiration_seconds"]],
  ])("%j is refused: a misspelt name must not make a file public", (value, path) => {
    const faults = [expect.objectContaining({ loc: ["header", NAME, ...path], type: "extra_forbidden" })];
    expect(() => read(value)).toThrow(expect.objectContaining({ faults }));
  });

  it("takes the fields that fal's clients send", () =>
    expect(
      read({
        expiration_duration_seconds: 60,
        initial_acl: { default: "hide", rules: [{ user: "a", decision: "allow" }] },
      }),
    ).toEqual({
      lifetimeSeconds: 60,
      acl: { default: "hide", rules: [{ user: "a", decision: "allow" }] },
    }));
});

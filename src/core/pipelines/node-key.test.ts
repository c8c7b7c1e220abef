import { describe, expect, it } from "vitest";
import { type NodeCall, nodeKey } from "./node-key.ts";

const CALL: NodeCall = {
  ownerId: "ann",
  endpoint: "fal-ai/wan",
  modelDigest: "d1",
  runner: "onnx/image-to-video",
  input: { prompt: "a ball", image_url: "attachment:0", seed: 7 },
  files: [{ sha256: "aa", contentType: "image/png" }],
};

describe("nodeKey", () => {
  it("ignores the order of the input's fields", () => {
    const { seed, prompt, image_url } = CALL.input as Record<string, string>;
    const other = { ...CALL, input: { seed, image_url, prompt } as NodeCall["input"] };
    expect(nodeKey(other)).toBe(nodeKey(CALL));
    expect(nodeKey(CALL)).toMatch(/^[0-9a-f]{64}$/);
  });

  it.each<[string, Partial<NodeCall>]>([
    ["owner", { ownerId: "bob" }],
    ["endpoint", { endpoint: "fal-ai/wan/x" }],
    ["version of the model", { modelDigest: "d2" }],
    ["runner", { runner: "stub/image-to-video" }],
    ["seed", { input: { ...CALL.input, seed: 8 } }],
    ["text that looks like a number", { input: { ...CALL.input, seed: "7" } }],
    ["bytes of a file", { files: [{ sha256: "ab", contentType: "image/png" }] }],
    ["type of a file", { files: [{ sha256: "aa", contentType: "image/jpeg" }] }],
    ["number of files", { files: [...CALL.files, ...CALL.files] }],
    ["lifetime of produced files", { lifecycle: { lifetimeSeconds: 60 } }],
    ["readers of produced files", { lifecycle: { acl: { default: "hide", rules: [] } } }],
  ])("changes with the %s", (_what, change) => {
    expect(nodeKey({ ...CALL, ...change })).not.toBe(nodeKey(CALL));
  });
});

import { describe, expect, it } from "vitest";
import { rerunBody } from "./pipelines-rerun.ts";

describe("rerunBody", () => {
  it("parses values that are JSON, and takes all others as text", () => {
    const set = [
      "video.num_frames=33",
      "video.prompt=it falls",
      'my-node.loras=[{"path":"a=b"}]',
      "audio.seed=null",
    ];
    expect(rerunBody({ from: "video", set, input: ["prompt=a ball", "seed=7", 'title="7"'] })).toEqual({
      from: "video",
      overrides: {
        input: { prompt: "a ball", seed: 7, title: "7" },
        nodes: {
          video: { num_frames: 33, prompt: "it falls" },
          "my-node": { loras: [{ path: "a=b" }] },
          audio: { seed: null },
        },
      },
    });
  });

  it("keeps large integers", () =>
    expect(rerunBody({ set: [], input: ["seed=18446744073709551615"] })).toEqual({
      overrides: { input: { seed: 2n ** 64n - 1n }, nodes: {} },
    }));

  it.each([
    ["--set video.num_frames", { set: ["video.num_frames"], input: [] }],
    ["--set num_frames=33", { set: ["num_frames=33"], input: [] }],
    ["--set .num_frames=33", { set: [".num_frames=33"], input: [] }],
    ["--set video.=33", { set: ["video.=33"], input: [] }],
    ["--input =33", { set: [], input: ["=33"] }],
    ["--input x=1e400: Input should be a finite number", { set: [], input: ["x=1e400"] }],
  ])("refuses %s in a sentence that names it", (named, options) => {
    expect(() => rerunBody(options)).toThrow(named);
  });
});

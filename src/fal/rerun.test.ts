import { describe, expect, it } from "vitest";
import type { Json } from "../core/json/json.ts";
import { readRerun } from "./rerun.ts";

describe("the body of a rerun", () => {
  it("names a node to begin with, and fields to replace", () => {
    expect(readRerun({})).toEqual({ input: {}, nodes: {} });
    expect(
      readRerun({
        from: "video",
        overrides: { input: { seed: 1 }, nodes: { video: { num_frames: 33 }, "a-b": {} } },
      }),
    ).toEqual({
      from: "video",
      input: { seed: 1 },
      nodes: { video: { num_frames: 33 }, "a-b": {} },
    });
    expect(readRerun({ from: null, overrides: null })).toEqual({ input: {}, nodes: {} });
  });

  it.each<[Json, string[]]>([
    [[], ["body"]],
    ["video", ["body"]],
    [{ from: 3, node: "x" }, ["body.node", "body.from"]],
    [{ overrides: { video: { seed: 1 } } }, ["body.overrides.video"]],
    [
      { overrides: { input: [], nodes: { video: 3, audio: {} } } },
      ["body.overrides.input", "body.overrides.nodes.video"],
    ],
    [{ overrides: { nodes: [{}] } }, ["body.overrides.nodes"]],
  ])("refuses %j and names every fault", (body, locations) => {
    let faults: { loc: (string | number)[] }[] = [];
    try {
      readRerun(body);
    } catch (error) {
      ({ faults } = error as { faults: typeof faults });
    }
    expect(faults.map(({ loc }) => loc.join(".")).sort()).toEqual([...locations].sort());
  });
});

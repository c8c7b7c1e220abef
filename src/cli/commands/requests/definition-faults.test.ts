import { expect, it } from "vitest";
import { definitionFaults, parseJsonFile } from "./definition-faults.ts";

const body = {
  error: {
    message: "…",
    faults: [
      { loc: ["body", "contents", "nodes", "a", "depends", 0], msg: "Value error, there is no node 'b'" },
      { loc: ["body", "title"], msg: "Field required" },
    ],
  },
};

it("lists the faults of a definition one a line, with the paths of its file", () => {
  expect(definitionFaults(body, "video.json", true)).toBe(
    "video.json has 2 faults:\n  nodes.a.depends.0: there is no node 'b'\n  title: Field required",
  );
  expect(definitionFaults(body, "video.json", false)).toContain("  contents.nodes.a.depends.0: there is");
});

it.each([undefined, "text", {}, { error: { message: "Not found" } }, { error: { faults: [] } }])(
  "leaves another refusal as it is: %j",
  (other) => expect(definitionFaults(other, "video.json", true)).toBeUndefined(),
);

it("names the line and the column of what is not JSON", () => {
  expect(() => parseJsonFile('{\n  "a": 1,\n  b: 2\n}', "video.json")).toThrow(
    /^video\.json cannot be read as JSON: line 3, column 3: /,
  );
  expect(() => parseJsonFile('{\n  "a": ', "video.json")).toThrow("line 2, column 8");
  expect(() => parseJsonFile('{"a": [1e400]}', "video.json")).toThrow("finite number (at a.0)");
  expect(parseJsonFile('{"a": 1}', "video.json")).toEqual({ a: 1 });
});

import { expect, it } from "vitest";
import { readNewWorkflow, readWorkflowChange } from "./workflow-record.ts";

it.each([" https://a.example/x.png\n", "HTTPS://a.example/x.png"])(
  "reads the address of a thumbnail as the URL standard does: %j",
  (address) => {
    expect(readWorkflowChange({ thumbnail_url: address }, "w")).toEqual({
      metadata: { thumbnailUrl: address.trim() },
    });
  },
);

it.each(["javascript:alert(1)", "ftp://a.example/x", "https:", "//a.example", "\n"])(
  "refuses %j as the address of a thumbnail",
  (address) => {
    expect(readWorkflowChange({ thumbnail_url: address }, "w")).toMatchObject({
      faults: [{ loc: expect.arrayContaining(["thumbnail_url"]) }],
    });
  },
);

it.each([{}, { title: null }])("names the missing title of a new workflow: %j", (title) => {
  const contents = { name: "w", version: "1", nodes: {}, output: {}, schema: { input: {}, output: {} } };
  expect(readNewWorkflow({ name: "w", contents, ...title })).toMatchObject({
    faults: expect.arrayContaining([{ loc: ["body", "title"], msg: "Field required", type: "missing" }]),
  });
});

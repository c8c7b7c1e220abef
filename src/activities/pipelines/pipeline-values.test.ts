import { expect, it } from "vitest";
import { createLoadValue } from "./pipeline-values.ts";

it("a value that was deleted is not asked for again: its pipeline ends, and says which", async () => {
  const objects = { head: async () => undefined, get: async () => undefined };
  await expect(
    createLoadValue({ objects })({ ref: "outcomes/x.json", bytesMax: 10, what: "the output of a" }),
  ).rejects.toMatchObject({
    type: "payload_gone",
    nonRetryable: true,
    message: expect.stringContaining("the output of a"),
  });
});

import { expect, it } from "vitest";
import { createLoadValue } from "./pipeline-values.ts";

it("fails without a retry, with the name of the value, when a value was deleted", async () => {
  const objects = { head: async () => undefined, get: async () => undefined };
  await expect(
    createLoadValue({ objects })({ ref: "outcomes/x.json", bytesMax: 10, what: "the output of a" }),
  ).rejects.toMatchObject({
    type: "payload_gone",
    nonRetryable: true,
    message: expect.stringContaining("the output of a"),
  });
});

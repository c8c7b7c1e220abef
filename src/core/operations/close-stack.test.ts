import { describe, expect, it } from "vitest";
import { createCloseStack } from "./close-stack.ts";

describe("createCloseStack", () => {
  it("closes in the opposite order, each once", async () => {
    const closed: number[] = [];
    const closing = createCloseStack();
    for (const n of [1, 2, 3]) closing.defer(() => closed.push(n));
    await closing[Symbol.asyncDispose]();
    await closing[Symbol.asyncDispose]();
    expect(closed).toEqual([3, 2, 1]);
  });

  it("closes everything when one close fails, then throws the first failure", async () => {
    const closed: string[] = [];
    const closing = createCloseStack();
    closing.defer(() => closed.push("first opened"));
    closing.defer(() => Promise.reject(new Error("second failure")));
    closing.defer(() => {
      throw new Error("first failure");
    });
    await expect(closing[Symbol.asyncDispose]()).rejects.toThrow("first failure");
    expect(closed).toEqual(["first opened"]);
  });
});

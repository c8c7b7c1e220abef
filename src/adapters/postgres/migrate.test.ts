import { expect, it } from "vitest";
import { migrate } from "./migrate.ts";

it("leaves the reason readable when the password is one of its words", async () => {
  const failed = migrate("postgres://tempera:refused@127.0.0.1:9/tempera");
  await expect(failed).rejects.toMatchObject({
    code: "store_unavailable",
    message: expect.stringMatching(/^PostgreSQL at .*connection refused.*correct DATABASE_URL\.$/),
  });
});

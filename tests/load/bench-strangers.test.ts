import { execFile } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";
import { ATTACKS } from "./strangers/attacks.ts";

it("lists its attacks in one line for a name that none of them has, and starts nothing", async () => {
  const program = join(import.meta.dirname, "bench-strangers.ts");
  const ended = await new Promise<{ code: unknown; err: string }>((done) =>
    execFile(process.execPath, ["--import", "tsx", program, "--only", "nonsense"], (error, _, err) =>
      done({ code: error?.code, err }),
    ),
  );
  const all = Object.keys(ATTACKS).join(", ");
  expect(ended).toEqual({
    code: 1,
    err: `No part of bench:strangers has "nonsense" in its name; it has: ${all}.\n`,
  });
});

import { expect, it } from "vitest";
import { checksOf } from "./check.ts";

const program = (script: string) => checksOf(process.execPath, ["-e", script], {});
const CHECK = `console.log('{"name":"a check","passed":true}');`;

it("takes the checks that a program prints, beside its other output", async () => {
  expect(await program(`console.log("loading"); ${CHECK}`)).toEqual([{ name: "a check", passed: true }]);
});

it.each([
  [
    "ends with an error",
    `${CHECK} console.error("out of luck"); process.exitCode = 3`,
    "it ended with 3: out of luck",
  ],
  ["is killed", `${CHECK} process.kill(process.pid, "SIGKILL")`, "it ended with SIGKILL"],
  ["makes no check", "", "it made no check"],
])("fails for a program that %s", async (_, script, reason) => {
  const checks = await program(script);
  expect(checks.at(-1)).toEqual({ name: "the program runs to its end", passed: false, reason });
});

it("fails for a program that cannot be started", async () => {
  const [check] = await checksOf("/nowhere/java", [], {});
  expect(check?.passed).toBe(false);
  expect(check?.reason).toContain("ENOENT");
});

/**
 * Checks the registry's signatures of the installed packages (`npm audit signatures`). A registry that does
 * not answer, or signs nothing, leaves the check out with exit code 0; a wrong signature is 1.
 */
import { spawnSync } from "node:child_process";

const WITHIN_MS = 120_000;
/** The parts of npm's messages for a registry that cannot be asked. */
const UNANSWERED = /npm error network|ENOTFOUND|ETIMEDOUT|ECONNREFUSED|E404|E403|No dependencies found/i;

const { status, stdout, stderr } = spawnSync("npm", ["audit", "signatures"], {
  encoding: "utf8",
  timeout: WITHIN_MS,
});
const text = `${stdout}${stderr}`;
if (status !== 0 && (status === null || UNANSWERED.test(text))) {
  const [line = "no answer within two minutes"] = text.split("\n").filter((each) => each.includes("error"));
  process.stdout.write(`left out: the registry does not answer for signatures (${line})\n`);
} else {
  process.stdout.write(text);
  process.exitCode = status === 0 ? 0 : 1;
}

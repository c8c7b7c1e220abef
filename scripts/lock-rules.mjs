/**
 * Checks package-lock.json: every package has a digest (`integrity`), which npm compares with what it
 * downloads, and a licence of the allowed list (`lock-rules.json`). Prints what breaks a rule, and exits with
 * 1 if anything does. An argument names another lock file.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const FOLDER = dirname(fileURLToPath(import.meta.url));

/**
 * Lists what breaks a rule, one line each.
 *
 * @param lock package-lock.json
 * @param rules scripts/lock-rules.json
 */
function lockFindings(lock, rules) {
  const findings = [];
  for (const [path, entry] of Object.entries(lock.packages)) {
    if (path === "" || entry.link) continue;
    const name = path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
    if (!entry.integrity && !(name in rules.withoutIntegrity))
      findings.push(`${name} ${entry.version} has no integrity; delete its entry and run npm install`);
    const licence = licenceOf(name, entry, rules);
    if (!isAllowed(licence, rules.licences))
      findings.push(`${name} ${entry.version} has the licence ${licence}, which is not on the list`);
  }
  return findings;
}

/** Returns the SPDX expression of a package: its own, else the one that was looked up. */
export const licenceOf = (name, { license }, { licenceOf: lookedUp }) => license ?? lookedUp[name] ?? "none";

/** Checks an SPDX expression: of alternatives one has to be allowed, of conjunctions all. */
const isAllowed = (expression, allowed) =>
  expression
    .replace(/[()]/g, "")
    .split(" OR ")
    .some((each) => each.split(" AND ").every((licence) => licence.trim() in allowed));

export const readRules = () => JSON.parse(readFileSync(join(FOLDER, "lock-rules.json"), "utf8"));
export const readLock = (file = join(FOLDER, "..", "package-lock.json")) =>
  JSON.parse(readFileSync(file, "utf8"));

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const findings = lockFindings(readLock(process.argv[2]), readRules());
  for (const finding of findings) process.stdout.write(`${finding}\n`);
  process.stdout.write(findings.length > 0 ? `${findings.length} findings\n` : "package-lock.json holds\n");
  process.exitCode = findings.length > 0 ? 1 : 0;
}

/**
 * Prints the bill of materials as CycloneDX JSON: the packages of npm and Python, and the programs that are
 * downloaded. `npm run sbom -- --licences` prints one line for each, with its licence, instead.
 */
import "tsx";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { licenceOf, readLock, readRules } from "./lock-rules.mjs";

const { MINIO_PIN, TEMPORAL_CLI_PIN } = await import("../src/dev/services/pinned-programs.ts");
const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");

if (process.argv.includes("--licences")) process.stdout.write(`${licences().join("\n")}\n`);
else process.stdout.write(`${JSON.stringify(billOfMaterials(), null, 2)}\n`);

function billOfMaterials() {
  const command = ["sbom", "--sbom-format", "cyclonedx", "--package-lock-only"];
  const bill = JSON.parse(execFileSync("npm", command, { cwd: ROOT, encoding: "utf8", maxBuffer: 2 ** 28 }));
  bill.components.push(...pythonPackages(), ...programs());
  return bill;
}

/** Reads the packages of the Python engines, whose licences pip alone knows. */
function pythonPackages() {
  const text = readFileSync(join(ROOT, "engines/python/requirements.txt"), "utf8");
  return [...text.matchAll(/^([\w.-]+)==([\w.]+)/gm)].map(([, name, version]) => ({
    type: "library",
    name,
    version,
    purl: `pkg:pypi/${name}@${version}`,
    "bom-ref": `pypi/${name}@${version}`,
  }));
}

function programs() {
  return [TEMPORAL_CLI_PIN, MINIO_PIN].map(({ name, version, licence, sha256, module }) => ({
    type: "application",
    name,
    version,
    purl: `pkg:golang/${module.path}@${module.version}`,
    "bom-ref": `program/${name}@${version}`,
    licenses: [{ license: { id: licence } }],
    properties: Object.entries(sha256).map(([platform, value]) => ({ name: `sha256:${platform}`, value })),
  }));
}

function licences() {
  const rules = readRules();
  const locked = Object.entries(readLock().packages).filter(([path, { link }]) => path !== "" && !link);
  const ofNpm = locked.map(([path, entry]) => {
    const name = path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
    return `npm ${name} ${entry.version}: ${licenceOf(name, entry, rules)}`;
  });
  const ofPrograms = [TEMPORAL_CLI_PIN, MINIO_PIN].map(
    (each) => `${each.name} ${each.version}: ${each.licence}`,
  );
  return [...new Set(ofNpm)].sort().concat(ofPrograms);
}

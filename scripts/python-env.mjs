/**
 * Prints the path of a Python that has the given packages, by default fal's official client:
 * `node scripts/python-env.mjs [package==version …]`. The virtual environment is created once, in the cache.
 */
import "tsx";

const { FAL_CLIENT, pythonEnv } = await import("../src/dev/services/python-env.ts");
const packages = process.argv.slice(2);
try {
  const python = await pythonEnv(packages.length > 0 ? packages : [FAL_CLIENT], {
    log: (line) => process.stderr.write(`${line}\n`),
  });
  process.stdout.write(`${python}\n`);
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}

/**
 * Prints the path of a Python that has the packages of a list, by default fal's official client:
 * `node scripts/python-env.mjs [list]`. The virtual environment is created once, in the cache.
 */
import { join } from "node:path";
import "tsx";

const { pythonEnv } = await import("../src/dev/services/python-env.ts");
const FAL_CLIENT = join(import.meta.dirname, "../tests/setup/python/fal-client.txt");
try {
  const python = await pythonEnv(process.argv[2] ?? FAL_CLIENT, {
    log: (line) => process.stderr.write(`${line}\n`),
  });
  process.stdout.write(`${python}\n`);
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}

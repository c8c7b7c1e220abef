/**
 * Starts a built-in engine from its bundle (engine-bundle.cjs): `node launch-engine.cjs <main.ts> <socket>`.
 * The bundle is built when it is missing. A GPU worker names it to engines that may not build one:
 * `<main.ts> --from <folder> <socket>`.
 *
 * `npm run build` makes the bundles of `dist/` ahead (`--bundle <main.ts> <folder>`); a process that runs
 * from there names `main.js` and builds nothing. This file is CommonJS because it runs before TypeScript can
 * be read, and because that starts faster.
 */
const { existsSync, readFileSync, renameSync, writeFileSync } = require("node:fs");
const { createRequire } = require("node:module");
const { join } = require("node:path");
const { Script } = require("node:vm");
const { bundle, bundleFolder, codeFile } = require("./engine-bundle.cjs");

/**
 * Delay before V8's compiled code is written to the cache, unless the process ends sooner. The first runs
 * have compiled by then what a run needs.
 */
const WRITE_CODE_AFTER_MS = 5_000;

const [, , main = "", ...rest] = process.argv;
if (main === "--bundle") {
  bundle(rest[0], rest[1]);
} else {
  const folder = rest[0] === "--from" ? rest[1] : bundleFolder(main);
  if (existsSync(folder) || main.endsWith(".js")) run(folder);
  else bundle(main, folder).then(() => run(folder));
}

/**
 * Runs the bundle from V8's compiled code when the cache has it for this V8; else writes it for the next
 * start.
 */
function run(folder) {
  const filename = join(folder, "main.cjs");
  const file = codeFile(folder);
  const cachedData = existsSync(file) ? readFileSync(file) : undefined;
  const script = new Script(
    `(function (require, module, exports, __filename, __dirname) {${readFileSync(filename, "utf8")}\n})`,
    {
      filename,
      ...(cachedData && { cachedData }),
    },
  );
  const module = { exports: {} };
  script.runInThisContext()(createRequire(filename), module, module.exports, filename, folder);
  if (cachedData && !script.cachedDataRejected) return;
  const writeCode = () => {
    clearTimeout(timer);
    process.off("exit", writeCode);
    try {
      const partial = `${file}.${process.pid}`;
      writeFileSync(partial, script.createCachedData());
      renameSync(partial, file);
    } catch {
      // The folder cannot be written to or is gone. The next start compiles again.
    }
  };
  const timer = setTimeout(writeCode, WRITE_CODE_AFTER_MS).unref();
  process.on("exit", writeCode);
}

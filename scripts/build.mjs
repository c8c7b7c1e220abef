/**
 * Compiles the source into `dist/`, file by file: `npm run build`. Images and the `tempera` command run from
 * there; development and the tests run the source (docs/decisions/0009).
 *
 * A file keeps its path, so that the files it reads relative to itself (schemas, migrations, other programs)
 * are found from `dist/` too. The workflow code is bundled beside it for Temporal's sandbox.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");
const SOURCE = join(ROOT, "src");
const OUTPUT = join(ROOT, "dist");

const startedAtMs = Date.now();
const files = readdirSync(SOURCE, { recursive: true, encoding: "utf8" }).sort();
const modules = files.filter(
  (name) => /(?<!\.(test|fixture))\.ts$/.test(name) && !name.includes(".fixtures/"),
);
/** Files that a module reads or runs by their path. */
const assets = files.filter((name) => /(?<!\.test)\.(cjs|mjs|proto)$/.test(name));

rmSync(OUTPUT, { recursive: true, force: true });
await build({
  absWorkingDir: ROOT,
  entryPoints: modules.map((name) => join(SOURCE, name)),
  outbase: SOURCE,
  outdir: OUTPUT,
  bundle: true,
  plugins: [{ name: "one file a module", setup: keepImports }],
  platform: "node",
  format: "esm",
  target: "node20.19",
  sourcemap: "linked",
  logLevel: "warning",
});
// The command answers in a blink: one file holds what every call of it loads, packages included.
await build({
  absWorkingDir: ROOT,
  entryPoints: [join(SOURCE, "cli/tempera.ts")],
  outfile: join(OUTPUT, "cli/tempera.js"),
  allowOverwrite: true,
  bundle: true,
  plugins: [{ name: "load on demand", setup: keepDynamicImports }],
  platform: "node",
  format: "esm",
  target: "node20.19",
  // Packages in CommonJS call `require`, which a module does not have. Our own modules import its maker by
  // its own name, so here it has another.
  banner: {
    js:
      'import { createRequire as requireOf } from "node:module";' +
      "const require = requireOf(import.meta.url);",
  },
  sourcemap: "linked",
  logLevel: "warning",
});
for (const name of assets) {
  mkdirSync(dirname(join(OUTPUT, name)), { recursive: true });
  copyFileSync(join(SOURCE, name), join(OUTPUT, name));
}
// This runs in a process of its own, since it executes the modules that were just built.
execFileSync(process.execPath, [join(OUTPUT, "bin/build-bundles.js")], { cwd: ROOT, stdio: "inherit" });
writeFileSync(join(OUTPUT, "built.json"), `${JSON.stringify({ node: process.versions.node })}\n`);
process.stderr.write(`Built ${modules.length} modules into dist/ in ${Date.now() - startedAtMs} ms.\n`);

/** Keeps every import, and points imports of own modules at the compiled file. */
function keepImports({ onResolve }) {
  onResolve({ filter: /.*/ }, ({ path, kind }) => {
    if (kind === "entry-point") return undefined;
    return { path: path.startsWith(".") ? path.replace(/\.ts$/, ".js") : path, external: true };
  });
}

/** Leaves `import()` of our own modules to their translated files, by their path from the command's. */
function keepDynamicImports({ onResolve }) {
  onResolve({ filter: /^\./ }, ({ path, kind, resolveDir }) => {
    if (kind !== "dynamic-import") return undefined;
    const target = relative(join(SOURCE, "cli"), join(resolveDir, path)).replace(/\.ts$/, ".js");
    return { path: target.startsWith(".") ? target : `./${target}`, external: true };
  });
}

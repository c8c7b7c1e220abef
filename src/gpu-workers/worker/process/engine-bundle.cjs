/**
 * The bundle of a built-in engine: where it is kept, how it is made.
 *
 * Resolving and reading tsx and the packages of an engine one by one takes longer than opening a small model,
 * and compiling them takes a good part of the rest. The program is therefore bundled once and kept in
 * `node_modules/.cache/tempera`, together with the code that V8 compiled from it. The bundle is built again
 * after any change of the sources. `npm run build` makes those of `dist/` ahead.
 */
const { createHash } = require("node:crypto");
const { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } = require("node:fs");
const { readFile } = require("node:fs/promises");
const { createRequire } = require("node:module");
const { basename, dirname, join, relative } = require("node:path");

const PROJECT = join(__dirname, "../../../..");
const CACHE = join(PROJECT, "node_modules/.cache/tempera");
/** Folders of `src` that an engine may import (docs/architecture/00-overview.md). */
const ROOMS = ["core", "fal", "gpu-workers", "registry"];
/** Packages with native files beside their code. They are loaded from node_modules, not bundled. */
const NATIVE = ["node-av", "onnxruntime-node", "sharp"];
/** Names the folder of an engine's bundle, which may have to be built; `main` is its first file. */
function bundleFolder(main) {
  const name = basename(dirname(main));
  if (main.endsWith(".js")) return join(PROJECT, "dist/engine-bundles", name);
  return join(CACHE, `${name}-${sourceDigest(main)}`);
}

/** Names the file of the code that this V8 has compiled from a bundle. */
const codeFile = (folder) => join(folder, `main.${process.versions.v8}.code`);

/** Digests names, sizes and times of the sources: reading the sources would take as long as running them. */
function sourceDigest(main) {
  const hash = createHash("sha256").update(main);
  const add = (path) => {
    const { size, mtimeMs } = statSync(path);
    hash.update(`\n${path} ${size} ${mtimeMs}`);
  };
  add(join(PROJECT, "package-lock.json"));
  for (const room of ROOMS) {
    const folder = join(PROJECT, "src", room);
    for (const name of readdirSync(folder, { recursive: true }).sort()) {
      if (/\.(ts|cjs)$/.test(name) && !name.endsWith(".test.ts")) add(join(folder, name));
    }
  }
  return hash.digest("hex").slice(0, 16);
}

async function bundle(main, folder) {
  // The version that tsx uses for everything else.
  const { build } = createRequire(require.resolve("tsx"))("esbuild");
  const partial = `${folder}.${process.pid}`;
  mkdirSync(partial, { recursive: true });
  await build({
    entryPoints: [main],
    bundle: true,
    outfile: join(partial, "main.cjs"),
    platform: "node",
    format: "cjs",
    target: "node20",
    minify: true,
    // `import()` in a script of `vm` is experimental.
    supported: { "dynamic-import": false },
    external: NATIVE,
    logLevel: "error",
    plugins: [
      { name: "source-urls", setup: (plugin) => keepSourceUrls(plugin, folder) },
      { name: "languages", setup: leaveOutLanguages },
    ],
  });
  try {
    renameSync(partial, folder);
  } catch (error) {
    // Another engine may have built the same bundle meanwhile.
    if (!existsSync(folder)) throw error;
    rmSync(partial, { recursive: true, force: true });
  }
}

/**
 * Keeps `import.meta` of each source file: it finds what lies beside it by its own URL, not by the bundle's.
 * In `dist/` that is the URL of its translation. Paths are relative to the bundle, so that a project can be
 * moved.
 */
function keepSourceUrls({ onLoad }, folder) {
  onLoad({ filter: /[\\/]src[\\/].*\.ts$/ }, async ({ path }) => {
    const text = await readFile(path, "utf8");
    const inSource = relative(join(PROJECT, "src"), path);
    const module = folder.startsWith(CACHE) ? path : join(PROJECT, "dist", inSource.replace(/\.ts$/, ".js"));
    const file = `require("node:path").join(__dirname, ${JSON.stringify(relative(folder, module))})`;
    const contents = text
      .replaceAll("import.meta.url", `require("node:url").pathToFileURL(${file}).href`)
      .replaceAll("import.meta.dirname", `require("node:path").dirname(${file})`)
      .replaceAll("import.meta.filename", file);
    return { loader: "ts", contents };
  });
}

/**
 * Leaves out zod's messages in fifty languages, a third of the bundle. zod's messages are English without
 * them.
 */
function leaveOutLanguages({ onLoad }) {
  onLoad({ filter: /zod[\\/]v4[\\/]locales[\\/]index\.js$/ }, () => ({ contents: "export {}" }));
}

module.exports = { bundle, bundleFolder, codeFile };

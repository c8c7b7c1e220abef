/**
 * Starts a built-in engine from one file: `node launch-engine.cjs <main.ts> <socket>`.
 *
 * tsx and the packages of an engine, each resolved and read by itself, take longer than opening a small
 * model, and compiling them takes a good part of the rest. So the program is bundled once, kept in
 * `node_modules/.cache/tempera` with what V8 made of it, and made again when any source is another. Plain
 * JavaScript of the older form: it runs before anything can read TypeScript, and sooner.
 */
const { createHash } = require("node:crypto");
const {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} = require("node:fs");
const { readFile } = require("node:fs/promises");
const { createRequire } = require("node:module");
const { basename, dirname, join } = require("node:path");
const { pathToFileURL } = require("node:url");
const { Script } = require("node:vm");

const PROJECT = join(__dirname, "../../../..");
const CACHE = join(PROJECT, "node_modules/.cache/tempera");
/** What an engine may import (docs/architecture/00-overview.md). */
const ROOMS = ["core", "fal", "gpu-workers", "registry"];
/** Packages with native files beside their code: they stay where they are. */
const NATIVE = ["node-av", "onnxruntime-node", "sharp"];
/**
 * When what V8 has compiled by then is kept, unless the process ends sooner: the first runs have been through
 * what a run needs.
 */
const KEEP_CODE_AFTER_MS = 5_000;

const main = process.argv[2] ?? "";
const folder = join(CACHE, `${basename(dirname(main))}-${sourceDigest(main)}`);
if (existsSync(folder)) run(folder);
else bundle(main, folder).then(() => run(folder));

/**
 * Runs the bundle, from V8's code for it where that is there and of this V8; else keeps that code for the
 * next start.
 */
function run(folder) {
  const filename = join(folder, "main.cjs");
  const kept = join(folder, `main.${process.versions.v8}.code`);
  const cachedData = existsSync(kept) ? readFileSync(kept) : undefined;
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
  const keep = () => {
    clearTimeout(timer);
    process.off("exit", keep);
    try {
      writeFileSync(`${kept}.${process.pid}`, script.createCachedData());
      renameSync(`${kept}.${process.pid}`, kept);
    } catch {
      // The folder cannot be written to, or is gone: the next start compiles again.
    }
  };
  const timer = setTimeout(keep, KEEP_CODE_AFTER_MS).unref();
  process.on("exit", keep);
}

/** Of names, sizes and times: reading the sources would take as long as running them. */
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
  // Of the same version that tsx runs everything else through.
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
      { name: "places", setup: keepPlaces },
      { name: "languages", setup: leaveOutLanguages },
    ],
  });
  try {
    renameSync(partial, folder);
  } catch (error) {
    // Another engine has done the same meanwhile.
    if (!existsSync(folder)) throw error;
    rmSync(partial, { recursive: true, force: true });
  }
}

/** A source file finds what lies beside it by its own address, not by the bundle's. */
function keepPlaces({ onLoad }) {
  onLoad({ filter: /[\\/]src[\\/].*\.ts$/ }, async ({ path }) => {
    const text = await readFile(path, "utf8");
    const contents = text
      .replaceAll("import.meta.url", JSON.stringify(pathToFileURL(path).href))
      .replaceAll("import.meta.dirname", JSON.stringify(dirname(path)))
      .replaceAll("import.meta.filename", JSON.stringify(path));
    return { loader: "ts", contents };
  });
}

/**
 * zod brings its messages in fifty languages; it speaks English without them, and they are a third of the
 * bundle.
 */
function leaveOutLanguages({ onLoad }) {
  onLoad({ filter: /zod[\\/]v4[\\/]locales[\\/]index\.js$/ }, () => ({ contents: "export {}" }));
}

/**
 * Starts a built-in engine from one file: `node launch-engine.mjs <main.ts> <socket>`.
 *
 * tsx and the packages of an engine, each resolved and read by itself, take longer than opening a small model. So the program is
 * bundled once, kept in `node_modules/.cache/tempera`, and made again when any source is another. What a program imports only when it
 * needs it (FFmpeg, for films) becomes a file of its own beside it. Plain JavaScript, since it runs before anything can read TypeScript.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const PROJECT = join(dirname(fileURLToPath(import.meta.url)), "../..");
const CACHE = join(PROJECT, "node_modules/.cache/tempera");
/** What an engine may import (docs/architecture/00-overview.md). */
const ROOMS = ["core", "fal", "gpu-workers", "registry"];
/** Packages with native files beside their code: they stay where they are. */
const NATIVE = ["node-av", "onnxruntime-node", "sharp"];

const main = process.argv[2] ?? "";
const folder = join(CACHE, `${basename(dirname(main))}-${sourceDigest(main)}`);
if (!existsSync(folder)) await bundle(main, folder);
await import(pathToFileURL(join(folder, "main.mjs")).href);

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
      if (/\.(ts|mjs)$/.test(name) && !name.endsWith(".test.ts")) add(join(folder, name));
    }
  }
  return hash.digest("hex").slice(0, 16);
}

async function bundle(main, folder) {
  // Of the same version that tsx runs everything else through.
  const esbuild = createRequire(createRequire(import.meta.url).resolve("tsx")).resolve("esbuild");
  const { build } = await import(pathToFileURL(esbuild).href).then((module) => module.default ?? module);
  const partial = `${folder}.${process.pid}`;
  await build({
    entryPoints: { main },
    bundle: true,
    outdir: partial,
    outExtension: { ".js": ".mjs" },
    splitting: true,
    platform: "node",
    format: "esm",
    target: "node20",
    minify: true,
    external: NATIVE,
    logLevel: "error",
    // Packages in the older form ask for `require`.
    banner: {
      js: 'import { createRequire as createRequireOfBundle } from "node:module"; const require = createRequireOfBundle(import.meta.url);',
    },
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

/** zod brings its messages in fifty languages; it speaks English without them, and they are a third of the bundle. */
function leaveOutLanguages({ onLoad }) {
  onLoad({ filter: /zod[\\/]v4[\\/]locales[\\/]index\.js$/ }, () => ({ contents: "export {}" }));
}

import { existsSync, readFileSync, statSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { create } from "tar";
import { parseBoundedYaml } from "../core/json/bounded-yaml.ts";
import { PACKAGE_TEXTS, type PackageTexts } from "../core/models/published-version.ts";
import { SIGNATURE_FILE } from "../registry/packages/package-signature.ts";

/** A model archive in a temporary folder, which its disposal deletes. */
export interface PackedModel extends AsyncDisposable {
  file: string;
  bytes: number;
}

/** A package on this disk: its version, and its files by their path in the archive. */
export interface ModelFolder {
  endpoint: string;
  version: string;
  files: Map<string, string>;
}

/**
 * Finds the files of a package folder: `model.yaml`, the weights that it names, its schemas and its
 * signature. The schemas are in `schemas/` of the package folder, or in `schemasFolder`. Throws when a file
 * is missing; the receiver checks the content.
 *
 * @param schemasFolder `schemas/`, with `models/<endpoint>/<version>/{input,output}.json` in it
 */
export function readModelFolder(folder: string, schemasFolder: string): ModelFolder {
  const manifestFile = join(folder, "model.yaml");
  if (!existsSync(manifestFile))
    throw new Error(`${folder} has no model.yaml; name the folder of a model package, or an archive.`);
  const parsed = parseBoundedYaml(readFileSync(manifestFile, "utf8"));
  if ("fault" in parsed)
    throw new Error(`${manifestFile}:${parsed.fault.line}: ${parsed.fault.message}; correct it.`);
  const manifest = (parsed.document.toJS() ?? {}) as {
    endpoint?: unknown;
    version?: unknown;
    files?: Record<string, string>;
  };
  const [endpoint, version] = [String(manifest.endpoint), String(manifest.version)];
  const schemaFolders = [join(folder, "schemas"), join(schemasFolder, "models", endpoint, version)];
  const schemas = schemaFolders.find((path) => existsSync(join(path, "input.json")));
  if (!schemas) throw new Error(`There is no input.json in ${schemaFolders.join(" or ")}.`);

  const files = new Map([["model.yaml", manifestFile]]);
  for (const name of ["input.json", "output.json"])
    if (existsSync(join(schemas, name))) files.set(`schemas/${name}`, join(schemas, name));
  if (existsSync(join(folder, SIGNATURE_FILE))) files.set(SIGNATURE_FILE, join(folder, SIGNATURE_FILE));
  for (const path of Object.keys(manifest.files ?? {})) {
    const source = resolve(folder, path);
    if (!source.startsWith(resolve(folder)) || !statSync(source, { throwIfNoEntry: false })?.isFile())
      throw new Error(`${path}: model.yaml names this file, but it is not in ${folder}.`);
    files.set(path, source);
  }
  return { endpoint, version, files };
}

/** Reads the texts of a package, which its signature covers. */
export function textsOf({ files }: ModelFolder): PackageTexts {
  const texts: PackageTexts = {};
  for (const path of PACKAGE_TEXTS) {
    const file = files.get(path);
    if (file !== undefined) texts[path] = readFileSync(file, "utf8");
  }
  return texts;
}

/**
 * Packs a package folder.
 *
 * @param signature takes the place of the folder's own signature file
 */
export async function packModel({ files }: ModelFolder, signature?: string): Promise<PackedModel> {
  // A folder with the layout of the archive. The weights are symbolic links, which `tar` follows.
  const staging = await mkdtemp(join(tmpdir(), "tempera-push-"));
  try {
    const layout = join(staging, "package");
    await mkdir(join(layout, "schemas"), { recursive: true });
    const paths = new Set(files.keys());
    if (signature !== undefined) {
      paths.add(SIGNATURE_FILE);
      await writeFile(join(layout, SIGNATURE_FILE), signature);
    }
    for (const [path, source] of files) {
      if (path === SIGNATURE_FILE && signature !== undefined) continue;
      await mkdir(dirname(join(layout, path)), { recursive: true });
      const isText = path === SIGNATURE_FILE || (PACKAGE_TEXTS as readonly string[]).includes(path);
      await (isText ? copyFile(source, join(layout, path)) : symlink(source, join(layout, path)));
    }
    const file = join(staging, "package.tar.gz");
    // Weights hardly compress, so the fastest level is enough.
    await create({ file, cwd: layout, follow: true, portable: true, gzip: { level: 1 } }, [...paths]);
    return {
      file,
      bytes: statSync(file).size,
      [Symbol.asyncDispose]: () => rm(staging, { recursive: true, force: true }),
    };
  } catch (error) {
    await rm(staging, { recursive: true, force: true });
    throw error;
  }
}

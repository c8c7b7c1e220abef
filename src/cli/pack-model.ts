import { existsSync, readFileSync, statSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { create } from "tar";
import { parseBoundedYaml } from "../core/json/bounded-yaml.ts";

/** A model archive in a temporary folder, which its disposal deletes. */
export interface PackedModel extends AsyncDisposable {
  file: string;
  bytes: number;
}

/**
 * Packs a package folder: `model.yaml`, the weights that it names, and its schemas. The schemas are in
 * `schemas/` of the package folder, or in `schemasFolder`. The receiver checks the content.
 *
 * @param schemasFolder `schemas/`, with `models/<endpoint>/<version>/{input,output}.json` in it
 */
export async function packModel(folder: string, schemasFolder: string): Promise<PackedModel> {
  const manifestFile = join(folder, "model.yaml");
  if (!existsSync(manifestFile))
    throw new Error(`${folder} has no model.yaml; name the folder of a model package, or an archive.`);
  const parsed = parseBoundedYaml(readFileSync(manifestFile, "utf8"));
  if ("fault" in parsed)
    throw new Error(`${manifestFile}:${parsed.fault.line}: ${parsed.fault.message}; correct it.`);
  const { endpoint, version, files } = (parsed.document.toJS() ?? {}) as {
    endpoint?: unknown;
    version?: unknown;
    files?: Record<string, string>;
  };
  const schemaFolders = [
    join(folder, "schemas"),
    join(schemasFolder, "models", String(endpoint), String(version)),
  ];
  const schemas = schemaFolders.find((path) => existsSync(join(path, "input.json")));
  if (!schemas) throw new Error(`There is no input.json in ${schemaFolders.join(" or ")}.`);

  // A folder with the layout of the archive. The weights are symbolic links, which `tar` follows.
  const staging = await mkdtemp(join(tmpdir(), "tempera-push-"));
  try {
    const layout = join(staging, "package");
    await mkdir(join(layout, "schemas"), { recursive: true });
    await copyFile(manifestFile, join(layout, "model.yaml"));
    for (const name of ["input.json", "output.json"])
      if (existsSync(join(schemas, name))) await copyFile(join(schemas, name), join(layout, "schemas", name));
    for (const path of Object.keys(files ?? {})) {
      const source = resolve(folder, path);
      if (!source.startsWith(resolve(folder)) || !statSync(source, { throwIfNoEntry: false })?.isFile())
        throw new Error(`${path}: model.yaml names this file, but it is not in ${folder}.`);
      await mkdir(dirname(join(layout, path)), { recursive: true });
      await symlink(source, join(layout, path));
    }
    const file = join(staging, "package.tar.gz");
    // Weights hardly compress, so the fastest level is enough.
    const paths = ["model.yaml", "schemas", ...Object.keys(files ?? {})];
    await create({ file, cwd: layout, follow: true, portable: true, gzip: { level: 1 } }, paths);
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

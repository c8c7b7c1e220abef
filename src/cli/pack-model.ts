import { existsSync, readFileSync, statSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { create } from "tar";
import { parse } from "yaml";

/** A model archive on its way to a platform. Gone when it is disposed of. */
export interface PackedModel extends AsyncDisposable {
  file: string;
  bytes: number;
}

/**
 * Packs a package folder: `model.yaml`, the weights that it names, and its schemas, which lie in `schemas/`
 * of the folder or where those of the models folder lie. What is in it is checked by who takes it.
 *
 * @param schemasFolder `schemas/`, with `models/<endpoint>/<version>/{input,output}.json` in it
 */
export async function packModel(folder: string, schemasFolder: string): Promise<PackedModel> {
  const manifestFile = join(folder, "model.yaml");
  if (!existsSync(manifestFile))
    throw new Error(`${folder} has no model.yaml; name the folder of a model package, or an archive.`);
  const { endpoint, version, files } = (parse(readFileSync(manifestFile, "utf8")) ?? {}) as {
    endpoint?: unknown;
    version?: unknown;
    files?: Record<string, string>;
  };
  const schemaPlaces = [
    join(folder, "schemas"),
    join(schemasFolder, "models", String(endpoint), String(version)),
  ];
  const schemas = schemaPlaces.find((place) => existsSync(join(place, "input.json")));
  if (!schemas) throw new Error(`There is no input.json in ${schemaPlaces.join(" or ")}.`);

  // Laid out as the archive is to be; weights are linked, not copied, and packed as what they link to.
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
        throw new Error(`${path}: model.yaml names it and it is not in ${folder}.`);
      await mkdir(dirname(join(layout, path)), { recursive: true });
      await symlink(source, join(layout, path));
    }
    const file = join(staging, "package.tar.gz");
    // Weights hardly shrink: the fastest level is the right one.
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

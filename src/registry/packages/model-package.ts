/**
 * A model package is a folder: `models/<endpoint>/<version>/model.yaml`, weights beside it, and the pair of
 * schemas in `schemas/models/<endpoint>/<version>/`. Adding a model is adding a folder.
 */
import { createHash } from "node:crypto";
import { createReadStream, existsSync, readFileSync, statSync } from "node:fs";
import { join, normalize, relative, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import type { ModelVersion } from "../../core/models/model.ts";
import type { PackageTexts } from "../../core/models/published-version.ts";
import { checkPackage, type ManifestCheck } from "./package-check.ts";
import { nameFault } from "./package-content.ts";
import { SIGNATURE_FILE, type SignatureCheck } from "./package-signature.ts";

export interface PackageFaults {
  folder: string;
  faults: string[];
}

export interface PackageFolders {
  modelsFolder: string;
  schemasFolder: string;
  checkManifest: ManifestCheck;
  /** Absent: packages need no signature. */
  checkSignature?: SignatureCheck | undefined;
}

/**
 * Reads and checks one model package. All its faults are returned together, each a sentence that names its
 * file.
 *
 * @param folder the package's folder, `<modelsFolder>/<endpoint>/<version>`
 */
export async function readModelPackage(
  folder: string,
  { modelsFolder, schemasFolder, checkManifest, checkSignature }: PackageFolders,
): Promise<ModelVersion | PackageFaults> {
  let manifestText: string;
  try {
    manifestText = readFileSync(join(folder, "model.yaml"), "utf8");
  } catch (error) {
    return { folder, faults: [`model.yaml: ${(error as Error).message.split("\n")[0]}`] };
  }
  const path = relative(modelsFolder, folder).split(sep).join("/");
  const schemas = join(schemasFolder, "models", path);
  const texts: PackageTexts = { "model.yaml": manifestText };
  for (const name of ["input", "output"] as const) {
    const text = textIn(join(schemas, `${name}.json`));
    if (text !== undefined) texts[`schemas/${name}.json`] = text;
  }
  const signed = checkSignature?.(texts, textIn(join(folder, SIGNATURE_FILE)));
  if (signed && "fault" in signed) return { folder, faults: [signed.fault] };
  const manifest = checkManifest(manifestText);
  if ("faults" in manifest) return { folder, faults: manifest.faults };

  const misplaced =
    path === `${manifest.endpoint}/${manifest.version}`
      ? []
      : [`model.yaml: is for ${manifest.endpoint}/${manifest.version} but lies in ${path}`];
  if (signed && (signed.endpoint !== manifest.endpoint || signed.version !== manifest.version))
    misplaced.push(nameFault(signed));
  const checked = await checkPackage(manifest, {
    manifestText,
    schema: (name) => ({
      label: `schemas/models/${path}/${name}.json`,
      text: texts[`schemas/${name}.json`],
    }),
    fileDigest: (file) => fileDigest(folder, file),
  });
  if ("faults" in checked) return { folder, faults: [...misplaced, ...checked.faults] };
  return misplaced.length > 0
    ? { folder, faults: misplaced }
    : { ...checked, folder, publishedAtMs: Math.floor(statSync(join(folder, "model.yaml")).mtimeMs) };
}

const textIn = (file: string): string | undefined =>
  existsSync(file) ? readFileSync(file, "utf8") : undefined;

async function fileDigest(folder: string, file: string): Promise<{ sha256: string } | { fault: string }> {
  const path = normalize(join(folder, file));
  if (!path.startsWith(folder + sep)) return { fault: "lies outside the package" };
  if (!existsSync(path) || !statSync(path).isFile()) return { fault: "missing" };
  return sha256File(path).then(
    (sha256) => ({ sha256 }),
    (error: NodeJS.ErrnoException) => ({ fault: `cannot be read (${error.code})` }),
  );
}

/** Gives the SHA-256 of a file, hex. */
async function sha256File(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}

import type { PackageTexts, VersionContent } from "../../core/models/published-version.ts";
import { checkPackage, type ManifestCheck } from "./package-check.ts";
import { SIGNATURE_FILE, type SignatureCheck, type SignedName } from "./package-signature.ts";
import { type EngineRunners, reviewModel } from "./review-model.ts";

/** A package without the bytes of its weights. */
export interface PackageContent {
  texts: PackageTexts;
  /** The SHA-256 of each weight file, by path. */
  files: Record<string, string>;
}

export type CheckedPackage = VersionContent | { faults: string[] };

/** Checks the texts and files of a package together. All faults are returned together. */
export type ContentCheck = (content: PackageContent) => Promise<CheckedPackage>;

/**
 * Creates the check of a package that did not come from the models folder.
 *
 * @param engines the runners of each engine: the package is also reviewed for slips, which refuse it
 */
export const createContentCheck =
  (checkManifest: ManifestCheck, engines?: EngineRunners): ContentCheck =>
  async ({ texts, files }) => {
    const manifestText = texts["model.yaml"];
    if (manifestText === undefined) return { faults: ["The archive has no model.yaml at its top."] };
    const manifest = checkManifest(manifestText);
    if ("faults" in manifest) return manifest;
    const model = await checkPackage(manifest, {
      manifestText,
      schema: (name) => ({ label: `schemas/${name}.json`, text: texts[`schemas/${name}.json`] }),
      fileDigest: async (path) => {
        const sha256 = Object.hasOwn(files, path) ? files[path] : undefined;
        return sha256 === undefined ? { fault: "missing" } : { sha256 };
      },
    });
    const unnamed = Object.keys(files)
      .filter((path) => !Object.hasOwn(manifest.files, path))
      .map((path) => `"${path.slice(0, 100)}": is not named in model.yaml`);
    const slips = "faults" in model ? model.faults : engines ? reviewModel(model, engines) : [];
    const faults = [...slips, ...unnamed];
    return faults.length > 0 ? { faults } : model;
  };

/** Checks the signature of a package before anything else of it, where that is required, then its content. */
export async function checkSigned(
  content: PackageContent,
  signature: string | undefined,
  {
    checkContent,
    checkSignature,
  }: { checkContent: ContentCheck; checkSignature?: SignatureCheck | undefined },
): Promise<CheckedPackage> {
  const signed = checkSignature?.(content.texts, signature);
  if (signed && "fault" in signed) return { faults: [signed.fault] };
  const model = await checkContent(content);
  const isOther =
    signed !== undefined &&
    !("faults" in model) &&
    (signed.endpoint !== model.endpoint || signed.version !== model.version);
  return isOther ? { faults: [nameFault(signed)] } : model;
}

/** Words the fault of a package whose signature is for another version. */
export const nameFault = ({ endpoint, version }: SignedName): string =>
  `${SIGNATURE_FILE}: is for ${endpoint} ${version}; sign this package`;

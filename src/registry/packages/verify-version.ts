import type { PublishedHead, PublishedVersion, VersionContent } from "../../core/models/published-version.ts";
import { type ContentCheck, checkSigned } from "./package-content.ts";
import type { SignatureCheck } from "./package-signature.ts";

/**
 * Reads the content of a stored version from the texts that were signed, and from nothing else of its row.
 * Gives a fault when the signature, or anything of the row that is served, is another one.
 */
export type VerifyVersion = (
  stored: PublishedVersion,
  head: PublishedHead,
) => Promise<VersionContent | { fault: string }>;

export const createVerifyVersion =
  (checkContent: ContentCheck, checkSignature: SignatureCheck): VerifyVersion =>
  async ({ signed, files }, { endpoint, version, digest }) => {
    const content = {
      texts: signed?.texts ?? {},
      files: Object.fromEntries(files.map(({ path, sha256 }) => [path, sha256])),
    };
    if (Object.keys(content.files).length !== files.length) return { fault: "a file is listed twice" };
    const model = await checkSigned(content, signed?.signature, { checkContent, checkSignature });
    if ("faults" in model) return { fault: model.faults.join("; ") };
    if (model.endpoint !== endpoint || model.version !== version)
      return { fault: `its signed package is ${model.endpoint} ${model.version}` };
    return model.digest === digest ? model : { fault: "its digest is not that of its signed package" };
  };

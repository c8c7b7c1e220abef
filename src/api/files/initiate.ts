import type { Context } from "hono";
import { fileUrl, type NewFile, newFileId, safeFileName } from "../../core/files/file.ts";
import { createSignatures } from "../../core/files/signatures.ts";
import { LIMITS } from "../../core/limits.ts";
import { readInitiate } from "../../fal/index.ts";
import { callOf } from "../auth/call.ts";
import { filesAddressOf } from "../http/address.ts";
import { answerJson } from "../http/answer-json.ts";
import { readJsonBody } from "../http/read-body.ts";
import { beginParts } from "./parts.ts";
import { lifecycleOf, privateAddress, type UploadDependencies } from "./receive.ts";

/**
 * `POST /rest/storage/upload/initiate` and `…/initiate-multipart`: announces a file. Answers `upload_url`,
 * which accepts the bytes (or the parts, below it) from anybody for a day, and `file_url`, the file's address
 * after the upload.
 */
export function createInitiate(api: UploadDependencies, { inParts }: { inParts: boolean }) {
  const signatures = createSignatures({ secret: api.uploadSecret, clock: api.clock });
  return async (c: Context): Promise<Response> => {
    const caller = await api.keyRing.authenticate(c.req.header("authorization"), callOf(c));
    const lifecycle = await lifecycleOf(c, api, caller);
    const { contentType, fileName } = readInitiate(
      await readJsonBody(c, LIMITS.uploadFormBytesMax),
      c.req.query("storage_type"),
    );
    const uploadUntilMs = api.clock.nowMs() + LIMITS.uploadAddressSeconds * 1000;
    const name = safeFileName(fileName, contentType);
    const file: NewFile = {
      fileId: newFileId(),
      ownerId: caller.ownerId,
      name,
      contentType,
      lifecycle,
      uploadUntilMs,
    };
    await (inParts ? beginParts(api, file) : api.files.begin(file));
    const url = fileUrl(filesAddressOf(c, api), file);
    return answerJson(c, {
      upload_url: url + signatures.uploadQuery(file.fileId, uploadUntilMs),
      file_url: privateAddress(api, file, url),
    });
  };
}

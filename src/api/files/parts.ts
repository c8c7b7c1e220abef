import { createHash } from "node:crypto";
import type { Context } from "hono";
import { errorInfo, TemperaError } from "../../core/errors/tempera-error.ts";
import { type FilePart, type FileRecord, fileKey, fileUrl, type NewFile } from "../../core/files/file.ts";
import { createSignatures } from "../../core/files/signatures.ts";
import { LIMITS } from "../../core/limits.ts";
import { readParts } from "../../fal/index.ts";
import { callOf } from "../auth/call.ts";
import { filesAddressOf } from "../http/address.ts";
import { answerJson } from "../http/answer-json.ts";
import { readJsonBody } from "../http/read-body.ts";
import { countUpload } from "../limits/count-upload.ts";
import { createFileCaller } from "./caller.ts";
import { readAnnouncedFile, storeFile, type UploadDependencies } from "./receive.ts";
import { assertUncoded, uploadBody } from "./upload-body.ts";

/**
 * An upload as its path names it. With an `uploadId` (Python) its owner authenticates; without one
 * (JavaScript) the address is signed.
 */
interface UploadPath {
  fileId: string;
  name: string;
  uploadId?: string;
}

/** Records a file that will be uploaded in parts. */
export async function beginParts(
  { objects, files, log }: Pick<UploadDependencies, "objects" | "files" | "log">,
  file: NewFile,
): Promise<void> {
  const key = fileKey(file.fileId);
  const uploadId = await objects.beginParts(key, file.contentType);
  await files.begin({ ...file, objectKey: key, partsId: uploadId }).catch(async (error) => {
    await objects
      .abortParts({ key, uploadId })
      .catch((failure) => log.warn({ key, err: errorInfo(failure) }, "a refused upload was not aborted"));
    throw error;
  });
}

/** `POST /files/upload/multipart`: begins a file in parts. Answers its address and the id of the upload. */
export function createMultipart(api: UploadDependencies) {
  const callerOf = createFileCaller(api);
  return async (c: Context): Promise<Response> => {
    const caller = await callerOf(c.req.header("authorization"), callOf(c));
    assertUncoded(c);
    const file = await readAnnouncedFile(
      c,
      api,
      caller,
      api.clock.nowMs() + LIMITS.uploadAddressSeconds * 1000,
    );
    await beginParts(api, file);
    return answerJson(c, {
      access_url: fileUrl(filesAddressOf(c, api), file),
      uploadId: file.fileId,
    });
  };
}

/**
 * Finds an upload and authenticates its caller. Rejects with `upload_unknown`, `upload_forbidden`, or an
 * error of the authentication.
 */
function createFindUpload(api: UploadDependencies) {
  const callerOf = createFileCaller(api);
  const signatures = createSignatures({ secret: api.uploadSecret, clock: api.clock });
  return async (
    c: Context,
    { fileId, name, uploadId }: UploadPath,
  ): Promise<FileRecord & { objectKey: string; partsId: string }> => {
    const caller =
      uploadId === undefined ? undefined : await callerOf(c.req.header("authorization"), callOf(c));
    if (!caller) signatures.checkUpload(fileId, c.req.query("upload"));
    else if (uploadId !== fileId) throw new TemperaError("upload_unknown");
    const file = await api.files.find(fileId);
    if (!file || file.name !== name || (caller && caller.ownerId !== file.ownerId))
      throw new TemperaError("upload_unknown");
    const { partsId, objectKey } = file;
    if (partsId === undefined || objectKey === undefined)
      throw new TemperaError("upload_unknown", "This upload takes no parts; send its bytes in one body.");
    return { ...file, partsId, objectKey };
  };
}

/**
 * `PUT …/<n>`: accepts one part, in any order and at the same time as others. A part that is sent again
 * replaces the former one. Answers its etag as a header, which Python's client reads, and in the body, which
 * JavaScript's client reads.
 */
export function createPart(api: UploadDependencies) {
  const find = createFindUpload(api);
  return async (c: Context, path: UploadPath & { part: number }): Promise<Response> => {
    const file = await find(c, path);
    if (file.stored)
      throw new TemperaError("upload_finished", "The upload is complete; it takes no more parts.");
    if (file.uploadUntilMs <= api.clock.nowMs())
      throw new TemperaError("upload_unknown", "This upload has expired; begin another one.");
    const { part: number } = path;
    if (number < 1 || number > LIMITS.uploadPartsMax)
      throw new TemperaError(
        "upload_parts_invalid",
        `Parts are numbered from 1 to ${LIMITS.uploadPartsMax.toLocaleString("en-US")}.`,
      );
    assertUncoded(c);
    const body = uploadBody(c, LIMITS.uploadPartBytesMax);
    if (body.bytes === 0) throw new TemperaError("upload_parts_invalid", "A part has at least one byte.");
    const others = (await api.files.parts(file.fileId)).filter((part) => part.number !== number);
    checkTotal(body.bytes + bytesOf(others));
    const { ownerId, fileId, objectKey, partsId } = file;
    const { bytes } = body;
    const etag = await countUpload(api, {
      ownerId,
      fileId,
      objectKey,
      bytes,
      // A part that is sent again counts again, until the upload is complete.
      announce: () => api.files.announce(fileId, objectKey, bytes),
      store: async () => {
        const put = await api.objects.putPart(
          { key: objectKey, uploadId: partsId },
          number,
          body.stream,
          bytes,
        );
        if (!(await api.files.putPart(fileId, { number, etag: put, bytes })))
          throw new TemperaError("upload_finished", "The upload is complete; it takes no more parts.");
        return put;
      },
    });
    return answerJson(c, { partNumber: number, etag: `"${etag}"` }, 200, { etag: `"${etag}"` });
  };
}

/**
 * `POST …/complete`: makes the file of its parts, listed in any order. A repetition with the same parts gets
 * the same answer. 400 unless the list has all parts from 1 on with their etags; 409 when the file was made
 * of other parts.
 */
export function createComplete(api: UploadDependencies) {
  const find = createFindUpload(api);
  return async (c: Context, path: UploadPath): Promise<Response> => {
    let file = await find(c, path);
    const listed = readParts(await readJsonBody(c, LIMITS.uploadFormBytesMax)).sort(
      (a, b) => a.number - b.number,
    );
    const etag = wholeEtag(listed);
    const parts = file.stored ? [] : await api.files.parts(file.fileId);
    // A concurrent completion may have used the parts.
    if (!file.stored && parts.length === 0) file = await find(c, path);
    if (file.stored && file.stored.etag !== etag) throw new TemperaError("upload_finished");
    if (!file.stored) {
      checkParts(listed, parts);
      const bytes = bytesOf(parts);
      checkTotal(bytes);
      await api.objects.completeParts({ key: file.objectKey, uploadId: file.partsId }, parts, {
        bytes,
        contentType: file.contentType,
      });
      await storeFile(api, file, file.objectKey, { bytes, etag });
    }
    return answerJson(c, { access_url: fileUrl(filesAddressOf(c, api), file) });
  };
}

const bytesOf = (parts: readonly FilePart[]): number => parts.reduce((sum, { bytes }) => sum + bytes, 0);

function checkTotal(bytes: number): void {
  if (bytes > LIMITS.fileBytesMax)
    throw new TemperaError(
      "body_too_large",
      `A file has at most ${LIMITS.fileBytesMax.toLocaleString("en-US")} bytes; the parts have more.`,
    );
}

/** Computes the etag as S3 does: the MD5 of the parts' MD5s, and the number of parts. */
function wholeEtag(parts: readonly { etag: string }[]): string {
  const md5 = createHash("md5");
  for (const { etag } of parts) md5.update(Buffer.from(etag, "hex"));
  return `${md5.digest("hex")}-${parts.length}`;
}

/**
 * Throws `upload_parts_invalid`, naming the part, unless the list has exactly the uploaded parts: 1, 2, …
 * without a gap, each once, with its newest etag, and none but the last below the minimum size.
 *
 * @param listed by number
 * @param parts by number
 */
function checkParts(listed: readonly { number: number; etag: string }[], parts: readonly FilePart[]): void {
  const wrong = (text: string) => new TemperaError("upload_parts_invalid", text);
  if (listed.length === 0) throw wrong("The list of parts is empty.");
  const known = new Map(parts.map((part) => [part.number, part]));
  for (const [at, { number, etag }] of listed.entries()) {
    if (listed[at - 1]?.number === number) throw wrong(`Part ${number} is named twice.`);
    if (number !== at + 1) throw wrong(`Part ${at + 1} is missing from the list.`);
    const part = known.get(number);
    if (!part) throw wrong(`Part ${number} was not uploaded; send it.`);
    if (part.etag !== etag.toLowerCase()) throw wrong(`Part ${number} has another etag; send it again.`);
    if (part.bytes < LIMITS.uploadPartBytesMin && number < listed.length)
      throw wrong(
        `Part ${number} has ${part.bytes} bytes; ` +
          `all but the last need ${LIMITS.uploadPartBytesMin.toLocaleString("en-US")}.`,
      );
  }
  const left = parts.find(({ number }) => number > listed.length);
  if (left) throw wrong(`Part ${left.number} was uploaded but is not in the list.`);
}

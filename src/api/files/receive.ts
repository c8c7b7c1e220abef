import type { Context } from "hono";
import { errorInfo, TemperaError } from "../../core/errors/tempera-error.ts";
import {
  type FileRecord,
  fileKey,
  fileUrl,
  type NewFile,
  newFileId,
  safeFileName,
} from "../../core/files/file.ts";
import { expiryOf, type Lifecycle, lasting } from "../../core/files/lifecycle.ts";
import { LIMITS } from "../../core/limits.ts";
import {
  LIFECYCLE_HEADER,
  LIFECYCLE_PREFERENCE_HEADER,
  readContentType,
  saysHowLong,
  wantedLifecycle,
} from "../../fal/index.ts";
import { addressOf } from "../http/address.ts";
import { answerJson } from "../http/answer-json.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { Caller } from "../auth/key-ring.ts";
import { countUpload } from "../limits/count-upload.ts";
import { createFileCaller } from "./caller.ts";
import { createSignatures } from "./signatures.ts";
import { uploadBody } from "./upload-body.ts";

export type UploadDependencies = Pick<
  ApiDependencies,
  | "keyRing"
  | "tokens"
  | "files"
  | "objects"
  | "clock"
  | "log"
  | "uploadSecret"
  | "publicUrl"
  | "limits"
  | "storageDefaults"
  | "times"
>;

/**
 * The file that a caller announces by headers, as Python's client does (contract §6.2). Throws
 * `input_invalid`.
 */
export const announcedFile = (
  c: Context,
  api: Pick<ApiDependencies, "storageDefaults" | "times">,
  caller: Caller,
  uploadUntilMs: number,
): NewFile => {
  const contentType = readContentType(c.req.header("content-type"), ["header", "content-type"]);
  return {
    fileId: newFileId(),
    ownerId: caller.ownerId,
    name: safeFileName(readFileName(c.req.header("x-fal-file-name")), contentType),
    contentType,
    lifecycle: lifecycleOf(c, api, caller.ownerId),
    uploadUntilMs,
  };
};

/**
 * The lifecycle that an upload asks for; what it does not say is its owner's default, then the
 * installation's. Throws `input_invalid`.
 */
export function lifecycleOf(
  c: Context,
  { storageDefaults, times }: Pick<ApiDependencies, "storageDefaults" | "times">,
  ownerId: string,
): Lifecycle {
  const name = c.req.header(LIFECYCLE_HEADER) === undefined ? LIFECYCLE_PREFERENCE_HEADER : LIFECYCLE_HEADER;
  const header = c.req.header(name);
  const lifecycle = wantedLifecycle(header, name, storageDefaults.of(ownerId));
  return saysHowLong(header) ? lifecycle : lasting(lifecycle, times?.of(ownerId).uploadMs);
}

/** Header values come as Latin-1; clients send the bytes of UTF-8. */
const readFileName = (header: string | undefined): string | undefined =>
  header === undefined ? undefined : Buffer.from(header, "latin1").toString("utf8");

/**
 * Makes a file be there. Whoever was first with these bytes, the answer is the same; other bytes are
 * `upload_finished`.
 *
 * @param etag what tells these bytes from others
 */
export async function keepFile(
  { files, objects, clock, log }: Pick<ApiDependencies, "files" | "objects" | "clock" | "log">,
  file: NewFile,
  objectKey: string,
  { bytes, etag }: { bytes: number; etag: string },
): Promise<void> {
  const expiresAtMs = expiryOf(file.lifecycle, clock.nowMs());
  if (
    await files.store(file.fileId, objectKey, {
      bytes,
      etag,
      ...(expiresAtMs !== undefined && { expiresAtMs }),
    })
  )
    return;
  const standing = await files.find(file.fileId);
  if (standing?.objectKey !== objectKey)
    await objects
      .delete(objectKey)
      .catch((error) =>
        log.warn({ objectKey, err: errorInfo(error) }, "an upload that lost was not deleted"),
      );
  if (!standing) throw new TemperaError("upload_unknown");
  if (!standing.stored)
    throw new TemperaError(
      "upload_interrupted",
      "Another upload to this address began meanwhile. Try again.",
    );
  if (standing.stored.etag !== etag) throw new TemperaError("upload_finished");
}

/** `POST /files/upload`: a whole file in one body. Answers its address. */
export const createUpload = (api: UploadDependencies) => {
  const callerOf = createFileCaller(api);
  return async (c: Context): Promise<Response> => {
    const caller = await callerOf(c.req.header("authorization"));
    const file = announcedFile(c, api, caller, api.clock.nowMs() + LIMITS.uploadBodyMs);
    const body = uploadBody(c, LIMITS.fileBytesMax);
    const objectKey = fileKey(file.fileId);
    await countUpload(api, { ownerId: caller.ownerId, bytes: body.bytes }, async () => {
      await api.files.begin({ ...file, objectKey });
      await api.objects.put(objectKey, body.stream, { bytes: body.bytes, contentType: file.contentType });
      await keepFile(api, file, objectKey, { bytes: body.bytes, etag: body.sha256() });
    });
    return answerJson(c, { access_url: fileUrl(addressOf(c, "files", api.publicUrl), file) });
  };
};

/**
 * `PUT {upload_url}`: the bytes of an initiated upload, from anybody who has the address. All of them or
 * nothing: a body that breaks off can be sent again, and so can one whose answer was lost. 403 a forged or
 * expired address, 404 an unknown upload, 409 other bytes for a file that is there.
 */
export const createReceive = (api: UploadDependencies) => {
  const signatures = createSignatures({ secret: api.uploadSecret, clock: api.clock });

  /** The file is there: only the same bytes may come again. */
  const receiveAgain = async (c: Context, { stored }: FileRecord): Promise<Response> => {
    const body = uploadBody(c, LIMITS.fileBytesMax);
    if (body.bytes !== stored?.bytes) throw new TemperaError("upload_finished");
    for await (const _ of body.stream);
    if (body.sha256() !== stored.etag) throw new TemperaError("upload_finished");
    return answerJson(c, {}, 200, { etag: `"${stored.etag}"` });
  };

  return async (c: Context, { fileId, name }: { fileId: string; name: string }): Promise<Response> => {
    signatures.checkUpload(fileId, c.req.query("upload"));
    const file = await api.files.find(fileId);
    if (!file || file.name !== name) throw new TemperaError("upload_unknown");
    if (file.partsId !== undefined)
      throw new TemperaError(
        "upload_unknown",
        "This upload comes in parts; send each to <upload address>/<number>.",
      );
    if (file.stored) return receiveAgain(c, file);
    const body = uploadBody(c, LIMITS.fileBytesMax);
    const objectKey = fileKey(fileId);
    const etag = await countUpload(api, { ownerId: file.ownerId, bytes: body.bytes }, async () => {
      const claimed = await api.files.claim(fileId, objectKey);
      if (!claimed) throw new TemperaError("upload_finished");
      if (claimed.before !== undefined) {
        const { before } = claimed;
        api.objects
          .delete(before)
          .catch((error) =>
            api.log.warn({ before, err: errorInfo(error) }, "an upload given up was not deleted"),
          );
      }
      await api.objects.put(objectKey, body.stream, { bytes: body.bytes, contentType: file.contentType });
      await keepFile(api, file, objectKey, { bytes: body.bytes, etag: body.sha256() });
      return body.sha256();
    });
    return answerJson(c, {}, 200, { etag: `"${etag}"` });
  };
};

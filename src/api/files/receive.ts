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
import { expiryOf, keptPrivate, type Lifecycle, withLifetime } from "../../core/files/lifecycle.ts";
import { SIGNATURE_MARK } from "../../core/files/private-address.ts";
import { createSignatures } from "../../core/files/signatures.ts";
import { LIMITS } from "../../core/limits.ts";
import {
  LIFECYCLE_HEADER,
  LIFECYCLE_PREFERENCE_HEADER,
  readContentType,
  resolveLifecycle,
  setsLifetime,
} from "../../fal/index.ts";
import { callOf } from "../auth/call.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { filesAddressOf } from "../http/address.ts";
import { answerJson } from "../http/answer-json.ts";
import { countUpload } from "../limits/count-upload.ts";
import { createFileCaller } from "./caller.ts";
import { type UploadBody, uploadBody, uploadCoding } from "./upload-body.ts";

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
  | "filesUrl"
  | "signAddress"
  | "limits"
  | "budgets"
  | "storageDefaults"
  | "times"
>;

/**
 * Reads the file that a caller announces by headers, as Python's client does (contract §6.2). Throws
 * `input_invalid`.
 */
export async function readAnnouncedFile(
  c: Context,
  api: Pick<ApiDependencies, "storageDefaults" | "times" | "limits">,
  caller: Caller,
  uploadUntilMs: number,
): Promise<NewFile> {
  const contentType = readContentType(c.req.header("content-type"), ["header", "content-type"]);
  return {
    fileId: newFileId(),
    ownerId: caller.ownerId,
    name: safeFileName(readFileName(c.req.header("x-fal-file-name")), contentType),
    contentType,
    lifecycle: await lifecycleOf(c, api, caller),
    uploadUntilMs,
  };
}

/**
 * Reads the lifecycle of an upload. Absent fields are the owner's defaults, then those of the owner's plan
 * and of the installation. Throws `input_invalid`.
 */
export async function lifecycleOf(
  c: Context,
  { storageDefaults, times, limits }: Pick<ApiDependencies, "storageDefaults" | "times" | "limits">,
  caller: Caller,
): Promise<Lifecycle> {
  const { ownerId } = caller;
  const name = c.req.header(LIFECYCLE_HEADER) === undefined ? LIFECYCLE_PREFERENCE_HEADER : LIFECYCLE_HEADER;
  const header = c.req.header(name);
  const wanted = resolveLifecycle(header, name, storageDefaults.of(ownerId));
  const { privateFiles } = (await limits.of(caller)).owner;
  const lifecycle = privateFiles ? keptPrivate(wanted) : wanted;
  return setsLifetime(header) ? lifecycle : withLifetime(lifecycle, times?.of(ownerId).uploadMs);
}

/** Returns the address of an upload as its owner gets it: signed, if the owner's plan keeps files private. */
export function privateAddress(
  { signAddress }: Pick<ApiDependencies, "signAddress">,
  { lifecycle, ownerId }: Pick<NewFile, "lifecycle" | "ownerId">,
  url: string,
): string {
  return lifecycle.signed ? signAddress(url + SIGNATURE_MARK, ownerId) : url;
}

/** Decodes a file name: header values are read as Latin-1, and clients send UTF-8. */
const readFileName = (header: string | undefined): string | undefined =>
  header === undefined ? undefined : Buffer.from(header, "latin1").toString("utf8");

/**
 * Marks a file as uploaded. When a concurrent upload did that first with the same bytes, the result is the
 * same; with other bytes, this one rejects with `upload_finished`.
 *
 * @param etag identifies the bytes
 */
export async function storeFile(
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
  const existing = await files.find(file.fileId);
  if (existing?.objectKey !== objectKey)
    await objects
      .delete(objectKey)
      .catch((error) =>
        log.warn({ objectKey, err: errorInfo(error) }, "the object of a superseded upload was not deleted"),
      );
  if (!existing) throw new TemperaError("upload_unknown");
  if (!existing.stored)
    throw new TemperaError(
      "upload_interrupted",
      "Another upload to this address began meanwhile. Try again.",
    );
  if (existing.stored.etag !== etag) throw new TemperaError("upload_finished");
}

/** Stores the bytes of an upload and marks it as uploaded. */
async function storeBody(
  api: Parameters<typeof storeFile>[0],
  file: NewFile,
  objectKey: string,
  body: UploadBody,
): Promise<void> {
  const { bytes, stream } = body;
  await api.objects.put(objectKey, stream, { bytes, contentType: file.contentType });
  await storeFile(api, file, objectKey, { bytes, etag: body.sha256() });
}

/** `POST /files/upload`: accepts a whole file in one body. Answers its address. */
export function createUpload(api: UploadDependencies) {
  const callerOf = createFileCaller(api);
  return async (c: Context): Promise<Response> => {
    const caller = await callerOf(c.req.header("authorization"), callOf(c));
    const file = await readAnnouncedFile(c, api, caller, api.clock.nowMs() + LIMITS.uploadBodyMs);
    const body = uploadBody(c, LIMITS.fileBytesMax);
    const objectKey = fileKey(file.fileId, uploadCoding(c));
    await countUpload(api, {
      ownerId: caller.ownerId,
      fileId: file.fileId,
      objectKey,
      bytes: body.bytes,
      announce: () => api.files.begin({ ...file, objectKey }, body.bytes),
      store: () => storeBody(api, file, objectKey, body),
    });
    return answerJson(c, { access_url: privateAddress(api, file, fileUrl(filesAddressOf(c, api), file)) });
  };
}

/**
 * `PUT {upload_url}`: accepts the bytes of an initiated upload from anybody who has the address. An
 * interrupted body leaves nothing and can be sent again, and so can one whose answer was lost. 403 for a
 * forged or expired address, 404 for an unknown upload, 409 for other bytes than those of an uploaded file.
 */
export function createReceive(api: UploadDependencies) {
  const signatures = createSignatures({ secret: api.uploadSecret, clock: api.clock });

  /** Accepts the same bytes again after the upload has finished. */
  const receiveAgain = async (c: Context, { stored, ownerId }: FileRecord): Promise<Response> => {
    using _open = api.budgets.openCalls.acquire(ownerId);
    const body = uploadBody(c, LIMITS.fileBytesMax);
    if (body.bytes !== stored?.bytes) throw new TemperaError("upload_finished");
    for await (const _ of body.stream);
    if (body.sha256() !== stored.etag) throw new TemperaError("upload_finished");
    return answerJson(c, {}, 200, { etag: `"${stored.etag}"` });
  };

  /** Takes the upload over from an earlier, interrupted try, whose bytes are deleted. */
  const claim = async ({ fileId }: FileRecord, objectKey: string, bytes: number): Promise<void> => {
    const claimed = await api.files.claim(fileId, objectKey, bytes);
    if (!claimed) throw new TemperaError("upload_finished");
    const { before } = claimed;
    if (before === undefined) return;
    api.objects
      .delete(before)
      .catch((error) =>
        api.log.warn(
          { before, err: errorInfo(error) },
          "the object of an interrupted upload was not deleted",
        ),
      );
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
    const objectKey = fileKey(fileId, uploadCoding(c));
    await countUpload(api, {
      ownerId: file.ownerId,
      fileId,
      objectKey,
      bytes: body.bytes,
      announce: () => claim(file, objectKey, body.bytes),
      store: () => storeBody(api, file, objectKey, body),
    });
    return answerJson(c, {}, 200, { etag: `"${body.sha256()}"` });
  };
}

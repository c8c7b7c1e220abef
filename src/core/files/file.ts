/**
 * A file is what somebody uploaded, or an artifact that was produced with a lifecycle: bytes in the object
 * store and a record of whose they are, who may read them and until when. Artifacts without a lifecycle need
 * no record (`artifact.ts`).
 */
import { createHash, randomBytes } from "node:crypto";
import { extensionOf } from "./artifact.ts";
import type { Lifecycle } from "./lifecycle.ts";

/** A file whose bytes are still to come. */
export interface NewFile {
  /** 32 hex digits. Nobody can guess one: for a public file it is the key to it. */
  fileId: string;
  ownerId: string;
  /** The last segment of its address, see `safeFileName`. */
  name: string;
  contentType: string;
  lifecycle: Lifecycle;
  /** Where its bytes go; absent until somebody sends them. */
  objectKey?: string;
  /** The store's name for its upload when it arrives in parts. */
  partsId?: string;
  /** When its bytes must have come. */
  uploadUntilMs: number;
}

export interface FileRecord extends NewFile {
  /** Absent until the bytes are there, all of them. */
  stored?: { bytes: number; etag: string; expiresAtMs?: number };
}

export interface FilePart {
  /** From 1. */
  number: number;
  /** MD5 of its bytes, hex. */
  etag: string;
  bytes: number;
}

export const newFileId = (): string => randomBytes(16).toString("hex");

/**
 * The same for every attempt that makes the same file for a request. It names the request and the bytes, so
 * it cannot be guessed.
 */
export const producedFileId = (requestId: string, index: number, sha256: string): string =>
  createHash("sha256").update(`${requestId}/${index}/${sha256}`).digest("hex").slice(0, 32);

/** Where a writer puts the bytes of a file. Every writer has a place of its own: two of them never mix. */
export const fileKey = (fileId: string, writer = randomBytes(4).toString("hex")): string =>
  `files/${fileId.slice(0, 2)}/${fileId}-${writer}`;

/** @param root of the files tree: `http://localhost:8080/files` */
export const fileUrl = (root: string, { fileId, name }: Pick<NewFile, "fileId" | "name">): string =>
  `${root}/${fileId}/${name}`;

const NAME_CHARACTERS_MAX = 100;
/** Names that Windows keeps for devices, whatever their extension. */
const DEVICE = /^(con|prn|aux|nul|com\d|lpt\d)$/i;

/**
 * A name that is harmless in every path, URL and file system: the last segment of what the caller gave,
 * accents dropped, everything but `[A-Za-z0-9._-]` replaced, at most 100 characters with its extension kept.
 *
 *     safeFileName("C:\\tmp\\Señal 1.PNG", "image/png") // "Senal_1.PNG"
 *     safeFileName("../../etc/passwd", "text/plain") // "passwd"
 *     safeFileName(undefined, "image/png") // "file.png"
 */
export function safeFileName(given: string | undefined, contentType: string): string {
  const last = (given ?? "").slice(-10_000).split(/[/\\]/).at(-1) ?? "";
  const plain = last
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .replace(/[^A-Za-z0-9._-]+/g, "_")
    .replace(/^[._]+|\.+$/g, "");
  if (!/[A-Za-z0-9]/.test(plain)) return `file.${extensionOf(contentType)}`;
  const [, stem = plain, extension = ""] = /^(.+?)(\.[A-Za-z0-9]{1,12})?$/.exec(plain) ?? [];
  const short = stem.slice(0, NAME_CHARACTERS_MAX - extension.length);
  return `${DEVICE.test(short.split(".")[0] ?? "") ? "_" : ""}${short}${extension}`;
}

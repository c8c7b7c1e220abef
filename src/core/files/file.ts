/**
 * A file is an upload, or an artifact that was produced with a lifecycle: bytes in the object store, and a
 * record of the owner, the readers and the lifetime. Artifacts without a lifecycle have no record
 * (`artifact.ts`).
 *
 * This folder has the bytes that requests take and make, the object store, and the values stored in it.
 */
import { createHash, randomBytes } from "node:crypto";
import { extensionOf } from "./artifact.ts";
import { type ContentCoding, contentCodingOf } from "./content-coding.ts";
import type { Lifecycle } from "./lifecycle.ts";

/** A file whose bytes are still to come. */
export interface NewFile {
  /** 32 random hex digits: whoever knows the id of a public file can read it. */
  fileId: string;
  ownerId: string;
  /** The last segment of its URL, see `safeFileName`. */
  name: string;
  contentType: string;
  lifecycle: Lifecycle;
  /** Key of the object that its bytes are written to; absent until the upload begins. */
  objectKey?: string;
  /** The object store's id of the upload, when it arrives in parts. */
  partsId?: string;
  /** Deadline of the upload. */
  uploadUntilMs: number;
}

export interface FileRecord extends NewFile {
  /** Absent until all bytes are stored. */
  stored?: { bytes: number; etag: string; expiresAtMs?: number };
}

export interface FilePart {
  /** From 1. */
  number: number;
  /** MD5 of its bytes, hex. */
  etag: string;
  bytes: number;
}

export function newFileId(): string {
  return randomBytes(16).toString("hex");
}

/**
 * Makes the id of a file that a request produced: the same for every attempt that makes the same file. It is
 * derived from the request and the bytes, so it cannot be guessed.
 */
export function producedFileId(requestId: string, index: number, sha256: string): string {
  return createHash("sha256").update(`${requestId}/${index}/${sha256}`).digest("hex").slice(0, 32);
}

/**
 * Names the object that a writer puts the bytes of a file into. Each writer has its own, so two never mix.
 * The name also says in which content coding the bytes are, if they are in one.
 */
export function fileKey(fileId: string, coding?: ContentCoding): string {
  const writer = randomBytes(4).toString("hex");
  return `files/${fileId.slice(0, 2)}/${fileId}-${writer}${coding === undefined ? "" : `.${coding}`}`;
}

/** Returns the content coding of the bytes of an object, by its key. */
export function codingOfKey(key: string): ContentCoding | undefined {
  const coding = contentCodingOf(/^files\/.*\.([a-z]+)$/.exec(key)?.[1]);
  return coding === "unsupported" ? undefined : coding;
}

/** @param root URL below which files are served: `http://localhost:8080/files` */
export function fileUrl(root: string, { fileId, name }: Pick<NewFile, "fileId" | "name">): string {
  return `${root}/${fileId}/${name}`;
}

const NAME_CHARACTERS_MAX = 100;
/** Characters of a name that are looked at, besides its extension: room for what is replaced. */
const READ_CHARACTERS_MAX = 1000;
const EXTENSION = /^\.[A-Za-z0-9]{1,12}$/;
/** Names that Windows reserves for devices, whatever their extension. */
const DEVICE = /^(con|prn|aux|nul|com\d|lpt\d)$/i;

/**
 * Makes a name that is safe in every path, URL and file system: the last segment of the given name, without
 * accents, with everything but `[A-Za-z0-9._-]` replaced, at most 100 characters. Its extension is kept, also
 * when nothing is left of the rest, since clients take a file's type from it.
 *
 *     safeFileName("C:\\tmp\\Señal 1.PNG", "image/png") // "Senal_1.PNG"
 *     safeFileName("../../etc/passwd", "text/plain") // "passwd"
 *     safeFileName("日本語.png", "image/png") // "file.png"
 *     safeFileName(undefined, "image/png") // "file.png"
 */
export function safeFileName(given: string | undefined, contentType: string): string {
  const name = given ?? "";
  const last = name.slice(Math.max(name.lastIndexOf("/"), name.lastIndexOf("\\")) + 1);
  const dot = last.lastIndexOf(".");
  const extension = dot > 0 && EXTENSION.test(last.slice(dot, dot + 14)) ? last.slice(dot) : "";
  const stem = safeStem(last.slice(0, last.length - extension.length).slice(0, READ_CHARACTERS_MAX));
  if (stem === "") return `file${extension || `.${extensionOf(contentType)}`}`;
  const short = stem.slice(0, NAME_CHARACTERS_MAX - extension.length);
  return `${DEVICE.test(short.split(".")[0] ?? "") ? "_" : ""}${short}${extension}`;
}

/** Cleans a name without its extension; empty when no letter or digit is left of it. */
function safeStem(raw: string): string {
  const plain = raw
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .replace(/[^A-Za-z0-9._-]+/g, "_");
  const clean = plain.replace(/^[._]+|(?<!\.)\.+$/g, "");
  if (!/[A-Za-z0-9]/.test(clean)) return "";
  // The part before the first full stop is gone: `图.tar` of `图.tar.gz`.
  return /^_+\./.test(plain) ? `file.${clean}` : clean;
}

import type { FilePart, FileRecord, NewFile } from "./file.ts";

/** A file to be deleted: its lifetime is over, or its upload was never finished. */
export type ExpiredFile = Pick<NewFile, "fileId" | "objectKey" | "partsId">;

/** An object without a record, as its owner's files are counted (`counted-object.ts`). */
export interface OwnedObject {
  ownerId: string;
  objectKey: string;
  bytes: number;
}

/**
 * Stores the records of files, and counts the files and bytes of each owner. Every method rejects with
 * `store_unavailable` when PostgreSQL cannot be reached, and with `storage_limit` when the owner's files
 * would become more than its limits allow: exactly, over all processes.
 */
export interface FileStore {
  /**
   * Records a file whose bytes are still to come; an existing record is left as it is.
   *
   * @param announcedBytes bytes that are about to come, which count as stored. @default 0
   */
  begin(file: NewFile, announcedBytes?: number): Promise<void>;

  find(fileId: string): Promise<FileRecord | undefined>;

  /**
   * Makes `objectKey` the object that the file's bytes are being written to; bytes that another writer has
   * put elsewhere no longer count. Returns the key before, or `undefined` when the file is stored already or
   * is not known.
   *
   * @param announcedBytes bytes that are about to come, instead of those announced before
   */
  claim(
    fileId: string,
    objectKey: string,
    announcedBytes: number,
  ): Promise<{ before: string | undefined } | undefined>;

  /**
   * Announces more bytes of a file that are about to come, or with a negative number takes some back: they
   * did not come. Does nothing when the file is stored already or another writer has claimed it.
   */
  announce(fileId: string, objectKey: string, bytes: number): Promise<void>;

  /**
   * Records that the file is stored. False when it was stored before, is not known, or another writer has
   * claimed it since.
   */
  store(fileId: string, objectKey: string, stored: NonNullable<FileRecord["stored"]>): Promise<boolean>;

  /**
   * Records a part and replaces an earlier one of its number. False when the file is stored already or is not
   * known.
   */
  putPart(fileId: string, part: FilePart): Promise<boolean>;

  /** Lists the parts by number; none when the file is stored already. */
  parts(fileId: string): Promise<FilePart[]>;

  /** Counts an object for its owner, before its bytes are stored. False when it is counted already. */
  countObject(object: OwnedObject): Promise<boolean>;

  /**
   * Counts objects no more: their bytes are about to be deleted, or were not stored.
   *
   * @param ownerId default: for all of their owners
   */
  uncountObjects(objectKeys: string[], ownerId?: string): Promise<void>;

  /** Lists counted objects that have not been looked for in the object store for long, or ever. */
  uncheckedObjects(limit: number): Promise<string[]>;

  /** Notes that counted objects were found in the object store now. */
  markChecked(objectKeys: string[]): Promise<void>;

  /** Lists files that expired, and uploads that had to be finished before `unfinishedBeforeMs`. */
  expired(nowMs: number, unfinishedBeforeMs: number, limit: number): Promise<ExpiredFile[]>;

  /** Deletes the records of files. Their bytes must have been deleted before. */
  remove(fileIds: string[]): Promise<void>;
}

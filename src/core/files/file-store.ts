import type { FilePart, FileRecord, NewFile } from "./file.ts";

/** A file to be deleted: its lifetime is over, or its upload was never finished. */
export type ExpiredFile = Pick<NewFile, "fileId" | "objectKey" | "partsId">;

/**
 * Stores the records of files. Every method rejects with `store_unavailable` when PostgreSQL cannot be
 * reached.
 */
export interface FileStore {
  /** Records a file whose bytes are still to come; an existing record is left as it is. */
  begin(file: NewFile): Promise<void>;

  find(fileId: string): Promise<FileRecord | undefined>;

  /**
   * Makes `objectKey` the object that the file's bytes are being written to; bytes that another writer has
   * put elsewhere no longer count. Returns the key before, or `undefined` when the file is stored already or
   * is not known.
   */
  claim(fileId: string, objectKey: string): Promise<{ before: string | undefined } | undefined>;

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

  /** Lists files that expired, and uploads that had to be finished before `unfinishedBeforeMs`. */
  expired(nowMs: number, unfinishedBeforeMs: number, limit: number): Promise<ExpiredFile[]>;

  /** Deletes the records of files. Their bytes must have been deleted before. */
  remove(fileIds: string[]): Promise<void>;
}

import type { FilePart, FileRecord, NewFile } from "./file.ts";

/** What is left of a file whose time has passed, or of an upload that was never finished. */
export type ExpiredFile = Pick<NewFile, "fileId" | "objectKey" | "partsId">;

/** The records of files. Every method rejects with `store_unavailable` when Postgres cannot be reached. */
export interface FileStore {
  /** Records a file whose bytes are still to come; one that is there already is left as it is. */
  begin(file: NewFile): Promise<void>;

  find(fileId: string): Promise<FileRecord | undefined>;

  /**
   * Makes `objectKey` the place where the file's bytes are being put; what another writer has put elsewhere
   * no longer counts. Returns that other place, or `undefined` when the file is there already, or is not
   * known.
   */
  claim(fileId: string, objectKey: string): Promise<{ before: string | undefined } | undefined>;

  /** The file is there. False when it was before, is not known, or another writer has claimed it since. */
  store(fileId: string, objectKey: string, stored: NonNullable<FileRecord["stored"]>): Promise<boolean>;

  /**
   * Records a part, replacing an earlier one of its number. False when the file is there already, or is not
   * known.
   */
  putPart(fileId: string, part: FilePart): Promise<boolean>;

  /** By number. Empty when the file is there already. */
  parts(fileId: string): Promise<FilePart[]>;

  /** Files that expired, and uploads whose bytes had to come before `unfinishedBeforeMs`. */
  expired(nowMs: number, unfinishedBeforeMs: number, limit: number): Promise<ExpiredFile[]>;

  /** Forgets files. Their bytes must be gone. */
  remove(fileIds: string[]): Promise<void>;
}

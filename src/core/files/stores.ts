import type { FileStore } from "./file-store.ts";
import type { StorageControl } from "./storage-control.ts";

/** The durable records of files. Their bytes are in the object store. */
export interface FileStores {
  /** The record of every file and of uploads in progress. */
  files: FileStore;
  /** Access lists of files, and each owner's defaults for new ones. */
  storage: StorageControl;
}

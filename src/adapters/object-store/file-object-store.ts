import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { diskFull } from "../../core/errors/store-failure.ts";
import { isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import type { ListedObject, ObjectInfo, ObjectStore, PartsUpload } from "../../core/files/object-store.ts";
import { objectBody } from "./object-body.ts";
import { checkRange, objectFolder, objectKey } from "./object-key.ts";

const FULL_REMEDY = "free space on its disk, or set TEMPERA_DATA to a folder with more";
const MISSING = new Set(["ENOENT", "ENOTDIR"]);

const UPLOAD_ID = /^[0-9a-f-]{36}$/;

/**
 * Creates an object store in a folder. Each object is a file with a file `<key>@info` beside it that is
 * written last: an object exists when its info does. Parts are in a folder `<key>@parts-<id>` and are joined
 * at the end. Keys have no `@`, so the store's own files never collide with an object. Only the user of this
 * process can read them.
 */
export function createFileObjectStore({ folder }: { folder: string }): ObjectStore {
  const files = new ObjectFiles(folder);
  return { ...objects(files), ...partUploads(files) };
}

/** Paths below the folder, and writes that leave nothing behind when they fail. */
class ObjectFiles {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  pathOf(key: string): string {
    return join(this.folder, objectKey(key));
  }

  infoOf(path: string): string {
    return `${path}@info`;
  }

  async readInfo(path: string): Promise<ObjectInfo | undefined> {
    const text = await this.unlessMissing(readFile(this.infoOf(path), "utf8"));
    return text === undefined ? undefined : (JSON.parse(text) as ObjectInfo);
  }

  /**
   * Translates an error of the file system to `store_full` or `store_unavailable`; any other passes through.
   */
  failed(error: unknown): unknown {
    const { code, message } = error as NodeJS.ErrnoException;
    if (isTemperaError(error) || typeof code !== "string") return error;
    return (
      diskFull("object store", error, FULL_REMEDY) ??
      new TemperaError(
        "store_unavailable",
        `Files in ${this.folder} cannot be used (${message}); ` +
          "correct that, or set TEMPERA_DATA to another folder.",
        { cause: error, store: "object store" },
      )
    );
  }

  async unlessMissing<T>(work: Promise<T>): Promise<T | undefined> {
    try {
      return await work;
    } catch (error) {
      if (MISSING.has((error as NodeJS.ErrnoException).code ?? "")) return undefined;
      throw this.failed(error);
    }
  }

  /**
   * Writes a body to a temporary file beside `path`, then calls `keep` to move it. The temporary file is
   * removed when either fails.
   */
  async write(
    { key, path, body, bytes }: { key: string; path: string; body: Buffer | Readable; bytes: number },
    through: Transform[],
    keep: (partial: string) => Promise<void>,
  ): Promise<void> {
    const partial = `${path}@${randomUUID()}`;
    const content = objectBody(key, body, bytes);
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      await pipeline([content.stream, ...through, createWriteStream(partial, { mode: 0o600 })]);
      await keep(partial);
    } catch (error) {
      content.stream.destroy();
      await rm(partial, { force: true }).catch(() => {});
      // An error of the source passes through, unless it is a full disk, which may be this one.
      if (!content.broke(error)) throw this.failed(error);
      throw diskFull("object store", error, FULL_REMEDY) ?? error;
    }
  }

  async put(key: string, body: Buffer | Readable, { bytes, contentType }: ObjectInfo): Promise<void> {
    const path = this.pathOf(key);
    await this.write({ key, path, body, bytes }, [], async (partial) => {
      await rename(partial, path);
      const info = JSON.stringify({ bytes, contentType } satisfies ObjectInfo);
      await writeFile(partial, info, { mode: 0o600 });
      await rename(partial, this.infoOf(path));
    });
  }

  /**
   * Lists what comes after `after` below a folder of keys, by rising key. A folder's name counts as the whole
   * key: `a-b` comes before `a/c`.
   */
  async list(of: string, after: string | undefined, limit: number): Promise<ListedObject[]> {
    const found: ListedObject[] = [];
    const entries = (await this.unlessMissing(readdir(join(this.folder, of), { withFileTypes: true }))) ?? [];
    const keys = entries
      .flatMap((entry) =>
        entry.name.includes("@") ? [] : [`${of}${entry.name}${entry.isDirectory() ? "/" : ""}`],
      )
      .sort();
    for (const key of keys) {
      if (found.length >= limit) break;
      if (key.endsWith("/")) {
        // All of a folder comes before `after`, unless `after` is in it.
        if (after !== undefined && key < after && !after.startsWith(key)) continue;
        found.push(...(await this.list(key, after, limit - found.length)));
      } else if (after === undefined || key > after) {
        const path = join(this.folder, key);
        const info = await this.readInfo(path);
        const file = info && (await this.unlessMissing(stat(path)));
        if (info && file) found.push({ key, bytes: info.bytes, modifiedAtMs: file.mtimeMs });
      }
    }
    return found;
  }
}

const objects = (files: ObjectFiles): Pick<ObjectStore, "put" | "head" | "get" | "delete" | "list"> => ({
  put: (key, body, info) => files.put(key, body, info),

  async head(key) {
    const path = files.pathOf(key);
    const info = await files.readInfo(path);
    // Somebody may have removed the bytes by hand.
    return info && (await files.unlessMissing(stat(path))) && info;
  },

  async get(key, range) {
    const path = files.pathOf(key);
    const info = await files.readInfo(path);
    if (!info) return undefined;
    if (range) checkRange(range, info);
    // Opened here, so that an object that is deleted meanwhile is still read to its end.
    const file = await files.unlessMissing(open(path));
    return file && { info, body: file.createReadStream(range) };
  },

  async delete(key) {
    const path = files.pathOf(key);
    await files.unlessMissing(rm(files.infoOf(path), { force: true }));
    await files.unlessMissing(rm(path, { force: true }));
    // Temporary files of writers that were killed. Uploads in parts are aborted by `abortParts`.
    const beside = `${basename(path)}@`;
    for (const name of (await files.unlessMissing(readdir(dirname(path)))) ?? [])
      if (name.startsWith(beside) && !name.startsWith(`${beside}parts-`))
        await files.unlessMissing(rm(join(dirname(path), name), { force: true }));
  },

  list: async (of, after, limit) => files.list(objectFolder(of), after, limit),
});

/** Returns the folder of an upload's parts, each a file `<number>-<MD5>`. It exists until the upload ends. */
function partsFolder(files: ObjectFiles, { key, uploadId }: PartsUpload): string {
  if (!UPLOAD_ID.test(uploadId)) throw new TemperaError("upload_unknown");
  return `${files.pathOf(key)}@parts-${uploadId}`;
}

const partUploads = (
  files: ObjectFiles,
): Pick<ObjectStore, "beginParts" | "putPart" | "completeParts" | "abortParts"> => ({
  async beginParts(key) {
    const uploadId = randomUUID();
    const folder = partsFolder(files, { key, uploadId });
    await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error) => {
      throw files.failed(error);
    });
    return uploadId;
  },

  async putPart(upload, number, body, bytes) {
    const folder = partsFolder(files, upload);
    if (!(await files.unlessMissing(stat(folder)))) throw new TemperaError("upload_unknown");
    const md5 = createHash("md5");
    const hashing = new Transform({
      transform(chunk, _encoding, done) {
        md5.update(chunk);
        done(null, chunk);
      },
    });
    let etag = "";
    const target = { key: upload.key, path: join(folder, String(number)), body, bytes };
    await files.write(target, [hashing], async (partial) => {
      etag = md5.digest("hex");
      await rename(partial, join(folder, `${number}-${etag}`));
    });
    for (const name of (await files.unlessMissing(readdir(folder))) ?? [])
      if (name.startsWith(`${number}-`) && name !== `${number}-${etag}`)
        await rm(join(folder, name), { force: true });
    return etag;
  },

  completeParts: (upload, parts, info) => joinParts(files, upload, parts, info),

  async abortParts(upload) {
    await files.unlessMissing(rm(partsFolder(files, upload), { recursive: true, force: true }));
  },
});

async function joinParts(
  files: ObjectFiles,
  upload: PartsUpload,
  parts: { number: number; etag: string }[],
  info: ObjectInfo,
): Promise<void> {
  const folder = partsFolder(files, upload);
  // An earlier or a concurrent call may have joined the parts; it removes their folder then.
  const alreadyJoined = async (): Promise<boolean> =>
    (await files.readInfo(files.pathOf(upload.key)))?.bytes === info.bytes;
  if (!(await files.unlessMissing(stat(folder)))) {
    if (await alreadyJoined()) return;
    throw new TemperaError("upload_unknown");
  }
  const paths: string[] = [];
  for (const { number, etag } of [...parts].sort((a, b) => a.number - b.number)) {
    const path = join(folder, `${number}-${etag.replace(/[^0-9a-f]/g, "")}`);
    if (!(await files.unlessMissing(stat(path)))) {
      if (await alreadyJoined()) return;
      throw new TemperaError(
        "upload_parts_invalid",
        `Part ${number} is not there with that etag; send it again.`,
      );
    }
    paths.push(path);
  }
  async function* joined(): AsyncGenerator<Buffer> {
    for (const path of paths) yield* createReadStream(path);
  }
  try {
    await files.put(upload.key, Readable.from(joined(), { objectMode: false }), info);
  } catch (error) {
    if (MISSING.has((error as NodeJS.ErrnoException).code ?? "") && (await alreadyJoined())) return;
    throw error;
  }
  await rm(folder, { recursive: true, force: true });
}

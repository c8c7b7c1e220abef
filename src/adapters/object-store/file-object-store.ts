import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import type { ListedObject, ObjectInfo, ObjectStore, PartsUpload } from "../../core/files/object-store.ts";
import { objectBody } from "./object-body.ts";
import { checkRange, objectFolder, objectKey } from "./object-key.ts";

const FULL = new Set(["ENOSPC", "EDQUOT"]);
const MISSING = new Set(["ENOENT", "ENOTDIR"]);

const UPLOAD_ID = /^[0-9a-f-]{36}$/;

/**
 * Objects as files below a folder. Each has a file `<key>@info` beside it that is written last: an object is
 * there when its info is. Parts wait in a folder `<key>@parts-<id>` and are joined in one go. No key has an
 * `@`, so what belongs to the store never meets an object.
 */
export function createFileObjectStore({ folder }: { folder: string }): ObjectStore {
  const pathOf = (key: string): string => join(folder, objectKey(key));
  const infoOf = (path: string): string => `${path}@info`;

  const failed = (error: unknown): unknown => {
    const { code, message } = error as NodeJS.ErrnoException;
    if (isTemperaError(error) || typeof code !== "string") return error;
    const text = FULL.has(code)
      ? `There is no space left for files in ${folder}; free some, or set TEMPERA_DATA to a folder with more.`
      : `Files in ${folder} cannot be used (${message}); mend that, or set TEMPERA_DATA to another folder.`;
    return new TemperaError("store_unavailable", text, { cause: error });
  };
  const unlessMissing = async <T>(work: Promise<T>): Promise<T | undefined> => {
    try {
      return await work;
    } catch (error) {
      if (MISSING.has((error as NodeJS.ErrnoException).code ?? "")) return undefined;
      throw failed(error);
    }
  };

  const infoAt = async (path: string): Promise<ObjectInfo | undefined> => {
    const text = await unlessMissing(readFile(infoOf(path), "utf8"));
    return text === undefined ? undefined : (JSON.parse(text) as ObjectInfo);
  };

  /**
   * Writes a body to a file of its own, then lets `keep` put that in its place. Nothing is left when either
   * fails.
   */
  const write = async (
    { key, path, body, bytes }: { key: string; path: string; body: Buffer | Readable; bytes: number },
    seen: Transform[],
    keep: (partial: string) => Promise<void>,
  ): Promise<void> => {
    const partial = `${path}@${randomUUID()}`;
    const content = objectBody(key, body, bytes);
    try {
      await mkdir(dirname(path), { recursive: true });
      await pipeline([content.stream, ...seen, createWriteStream(partial)]);
      await keep(partial);
    } catch (error) {
      content.stream.destroy();
      await rm(partial, { force: true }).catch(() => {});
      // What the source threw is its own affair, except that its disk may be this one.
      const full = FULL.has((error as NodeJS.ErrnoException).code ?? "");
      throw content.broke(error) && !full ? error : failed(error);
    }
  };
  const put = async (
    key: string,
    body: Buffer | Readable,
    { bytes, contentType }: ObjectInfo,
  ): Promise<void> => {
    const path = pathOf(key);
    await write({ key, path, body, bytes }, [], async (partial) => {
      await rename(partial, path);
      await writeFile(partial, JSON.stringify({ bytes, contentType } satisfies ObjectInfo));
      await rename(partial, infoOf(path));
    });
  };

  /**
   * What comes after `after` below a folder of keys, by rising key: a name counts as its whole key, so that
   * `a-b` comes before `a/c`.
   */
  const objectsBelow = async (
    of: string,
    after: string | undefined,
    limit: number,
  ): Promise<ListedObject[]> => {
    const found: ListedObject[] = [];
    const entries = (await unlessMissing(readdir(join(folder, of), { withFileTypes: true }))) ?? [];
    const keys = entries
      .flatMap((entry) =>
        entry.name.includes("@") ? [] : [`${of}${entry.name}${entry.isDirectory() ? "/" : ""}`],
      )
      .sort();
    for (const key of keys) {
      if (found.length >= limit) break;
      if (key.endsWith("/")) {
        // All of it comes before `after`, unless `after` lies within.
        if (after !== undefined && key < after && !after.startsWith(key)) continue;
        found.push(...(await objectsBelow(key, after, limit - found.length)));
      } else if (after === undefined || key > after) {
        const info = await infoAt(join(folder, key));
        const file = info && (await unlessMissing(stat(join(folder, key))));
        if (info && file) found.push({ key, bytes: info.bytes, modifiedAtMs: file.mtimeMs });
      }
    }
    return found;
  };

  /** A folder of parts, each a file `<number>-<MD5>`; it is there from `beginParts` until the upload ends. */
  const partsOf = ({ key, uploadId }: PartsUpload): string => {
    if (!UPLOAD_ID.test(uploadId)) throw new TemperaError("upload_unknown");
    return `${pathOf(key)}@parts-${uploadId}`;
  };
  const partsThere = async (parts: string): Promise<boolean> =>
    (await unlessMissing(stat(parts))) !== undefined;

  return {
    put,

    async head(key) {
      const path = pathOf(key);
      const info = await infoAt(path);
      // Somebody may have removed the bytes by hand.
      return info && (await unlessMissing(stat(path))) && info;
    },

    async get(key, range) {
      const path = pathOf(key);
      const info = await infoAt(path);
      if (!info) return undefined;
      if (range) checkRange(range, info);
      // Opened before it is handed out: an object that vanishes now is still read to its end.
      const file = await unlessMissing(open(path));
      return file && { info, body: file.createReadStream(range) };
    },

    async delete(key) {
      const path = pathOf(key);
      await unlessMissing(rm(infoOf(path), { force: true }));
      await unlessMissing(rm(path, { force: true }));
      // What a writer that was killed had written of it. Uploads in parts are given up by `abortParts`.
      const beside = `${basename(path)}@`;
      for (const name of (await unlessMissing(readdir(dirname(path)))) ?? [])
        if (name.startsWith(beside) && !name.startsWith(`${beside}parts-`))
          await unlessMissing(rm(join(dirname(path), name), { force: true }));
    },

    list: async (of, after, limit) =>
      (await unlessMissing(objectsBelow(objectFolder(of), after, limit))) ?? [],

    async beginParts(key) {
      const uploadId = randomUUID();
      await mkdir(partsOf({ key, uploadId }), { recursive: true }).catch((error) => {
        throw failed(error);
      });
      return uploadId;
    },

    async putPart(upload, number, body, bytes) {
      const parts = partsOf(upload);
      if (!(await partsThere(parts))) throw new TemperaError("upload_unknown");
      const md5 = createHash("md5");
      const seen = new Transform({
        transform(chunk, _encoding, done) {
          md5.update(chunk);
          done(null, chunk);
        },
      });
      let etag = "";
      await write(
        { key: upload.key, path: join(parts, String(number)), body, bytes },
        [seen],
        async (partial) => {
          etag = md5.digest("hex");
          await rename(partial, join(parts, `${number}-${etag}`));
        },
      );
      for (const name of (await unlessMissing(readdir(parts))) ?? [])
        if (name.startsWith(`${number}-`) && name !== `${number}-${etag}`)
          await rm(join(parts, name), { force: true });
      return etag;
    },

    async completeParts(upload, parts, info) {
      const path = partsOf(upload);
      // Before, or beside this call: who has joined the parts takes them away.
      const alreadyJoined = async (): Promise<boolean> =>
        (await infoAt(pathOf(upload.key)))?.bytes === info.bytes;
      if (!(await partsThere(path))) {
        if (await alreadyJoined()) return;
        throw new TemperaError("upload_unknown");
      }
      const files: string[] = [];
      for (const { number, etag } of [...parts].sort((a, b) => a.number - b.number)) {
        const file = join(path, `${number}-${etag.replace(/[^0-9a-f]/g, "")}`);
        if (!(await unlessMissing(stat(file)))) {
          if (await alreadyJoined()) return;
          throw new TemperaError(
            "upload_parts_invalid",
            `Part ${number} is not there with that etag; send it again.`,
          );
        }
        files.push(file);
      }
      async function* joined(): AsyncGenerator<Buffer> {
        for (const file of files) yield* createReadStream(file);
      }
      try {
        await put(upload.key, Readable.from(joined(), { objectMode: false }), info);
      } catch (error) {
        if (MISSING.has((error as NodeJS.ErrnoException).code ?? "") && (await alreadyJoined())) return;
        throw error;
      }
      await rm(path, { recursive: true, force: true });
    },

    async abortParts(upload) {
      await unlessMissing(rm(partsOf(upload), { recursive: true, force: true }));
    },
  };
}

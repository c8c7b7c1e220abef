/**
 * A model archive is a model package in one file, tar or tar.gz: `model.yaml`, `schemas/input.json`,
 * `schemas/output.json`, and the weights where the manifest has them. It comes from a caller: nothing in it
 * is believed, and nothing of it is written where it says.
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { Readable } from "node:stream";
import { Parser, type ReadEntry } from "tar";
import { TemperaError } from "../core/errors/tempera-error.ts";
import { LIMITS } from "../core/limits.ts";
import type { VersionContent } from "../core/models/published-version.ts";
import { checkPackage, type ManifestCheck, readManifest } from "./package-check.ts";

/** Files of an archive that are read here and are no weights. */
const TEXTS: Record<string, number> = {
  "model.yaml": LIMITS.manifestBytesMax,
  "schemas/input.json": LIMITS.schemaBytesMax,
  "schemas/output.json": LIMITS.schemaBytesMax,
};

export interface ArchivedFile {
  path: string;
  sha256: string;
  bytes: number;
}

const refused = (text: string): TemperaError => new TemperaError("package_invalid", text);

/**
 * Reads an archive to its end and checks it whole.
 *
 * @param body the archive; its own errors pass through
 * @param keep takes the bytes of one weight file and returns when they are put away
 * @returns rejects with `package_invalid`, all faults of the package in one message
 */
export async function readModelArchive(
  body: AsyncIterable<Uint8Array>,
  {
    checkManifest,
    keep,
  }: { checkManifest: ManifestCheck; keep: (bytes: Readable, size: number) => Promise<void> },
): Promise<{ model: VersionContent; files: ArchivedFile[] }> {
  const texts = new Map<string, string>();
  const files = new Map<string, ArchivedFile>();
  for await (const { path, size, bytes } of entriesOf(body)) {
    if (texts.has(path) || files.has(path)) throw refused(`The archive has ${shown(path)} twice.`);
    const textMax = Object.hasOwn(TEXTS, path) ? TEXTS[path] : undefined;
    if (textMax !== undefined) {
      if (size > textMax)
        throw refused(
          `${path} has ${size.toLocaleString("en-US")} bytes; at most ${textMax.toLocaleString("en-US")} are read.`,
        );
      const chunks: Uint8Array[] = [];
      for await (const chunk of bytes) chunks.push(chunk);
      texts.set(path, Buffer.concat(chunks).toString("utf8"));
      continue;
    }
    const hash = createHash("sha256");
    async function* hashed(): AsyncGenerator<Uint8Array> {
      for await (const chunk of bytes) {
        hash.update(chunk);
        yield chunk;
      }
    }
    await keep(Readable.from(hashed(), { objectMode: false }), size);
    files.set(path, { path, sha256: hash.digest("hex"), bytes: size });
  }

  const manifestText = texts.get("model.yaml");
  if (manifestText === undefined) throw refused("The archive has no model.yaml at its top.");
  const manifest = readManifest(manifestText, checkManifest);
  if ("faults" in manifest) throw refused(manifest.faults.join("; "));
  const model = await checkPackage(manifest, {
    manifestText,
    schema: (name) => ({ label: `schemas/${name}.json`, text: texts.get(`schemas/${name}.json`) }),
    fileDigest: async (path) => files.get(path) ?? { fault: "missing" },
  });
  const unnamed = [...files.keys()]
    .filter((path) => !Object.hasOwn(manifest.files, path))
    .map((path) => `${shown(path)}: model.yaml does not name it`);
  const faults = [...("faults" in model ? model.faults : []), ...unnamed];
  if ("faults" in model || faults.length > 0)
    throw refused(faults.slice(0, LIMITS.inputFaultsMax).join("; "));
  return { model, files: [...files.values()] };
}

interface Entry {
  path: string;
  size: number;
  bytes: AsyncIterable<Uint8Array>;
}

/**
 * The files of an archive, one after another: the next one comes when the bytes of the one before were read.
 */
async function* entriesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<Entry> {
  let failure: unknown;
  let total = 0;
  let count = 0;
  const waiting: ReadEntry[] = [];
  let ended = false;
  let wake = (): void => {};
  const changed = (): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
    });
  const fail = (error: unknown): void => {
    failure ??= error;
    for (const entry of waiting) entry.resume();
    wake();
  };

  const parser = new Parser({
    strict: true,
    maxMetaEntrySize: 64 * 1024,
    onReadEntry: (entry) => {
      total += entry.size;
      count++;
      const fault = failure === undefined ? entryFault(entry, total, count) : undefined;
      if (fault) fail(refused(fault));
      if (failure !== undefined || entry.type === "Directory") return void entry.resume();
      waiting.push(entry);
      wake();
    },
  });
  parser.on("error", (error: Error) =>
    fail(refused(`The archive cannot be read (${error.message}); send a whole tar.gz.`)),
  );
  parser.on("end", () => {
    ended = true;
    wake();
  });

  let breakOff = (): void => {};
  const broken = new Promise<void>((resolve) => {
    breakOff = resolve;
  });

  /** Feeds the parser, which holds back while an entry is not read. */
  const feeding = (async () => {
    for await (const chunk of body) {
      if (failure !== undefined) return;
      if (!parser.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)))
        await Promise.race([once(parser, "drain"), broken]);
    }
    if (failure === undefined) parser.end();
  })();
  feeding.catch((error) => {
    // The caller went away, or the bytes broke: that, and not what it looks like from inside the archive.
    failure = error;
    wake();
  });

  try {
    for (;;) {
      const next = waiting.shift();
      if (failure !== undefined) throw failure;
      if (next) {
        yield { path: pathOf(next.path), size: next.size, bytes: bytesOf(next, () => failure, changed) };
        continue;
      }
      if (ended) break;
      await changed();
    }
    await feeding;
    if (count === 0) throw refused("The archive is empty, or no tar or tar.gz.");
  } finally {
    failure ??= refused("The archive was given up.");
    breakOff();
    for (const entry of waiting) entry.resume();
  }
}

/** The bytes of an entry; ends with the archive's failure when that breaks meanwhile. */
async function* bytesOf(
  entry: ReadEntry,
  failure: () => unknown,
  changed: () => Promise<void>,
): AsyncGenerator<Uint8Array> {
  let seen = 0;
  const chunks = entry[Symbol.asyncIterator]();
  for (;;) {
    const next = await Promise.race([chunks.next(), failed(failure, changed)]);
    if (next === "failed") throw failure();
    if (next.done) break;
    const chunk = next.value as Uint8Array;
    seen += chunk.length;
    yield chunk;
  }
  if (failure() !== undefined) throw failure();
  if (seen !== entry.size) throw refused(`${shown(entry.path)} ends after ${seen} bytes of ${entry.size}.`);
}

async function failed(failure: () => unknown, changed: () => Promise<void>): Promise<"failed"> {
  while (failure() === undefined) await changed();
  return "failed";
}

const pathOf = (path: string): string => path.replace(/^(\.\/)+/, "").replace(/\/+$/, "");

/** What is wrong with an entry before a byte of it is read. */
function entryFault({ type, path, size }: ReadEntry, total: number, count: number): string | undefined {
  if (count > LIMITS.packageFilesMax)
    return `The archive has more than ${LIMITS.packageFilesMax.toLocaleString("en-US")} entries.`;
  if (total > LIMITS.packageBytesMax)
    return `The archive holds more than ${LIMITS.packageBytesMax.toLocaleString("en-US")} bytes.`;
  if (size > LIMITS.packageFileBytesMax)
    return `${shown(path)} has ${size.toLocaleString("en-US")} bytes; at most ${LIMITS.packageFileBytesMax.toLocaleString("en-US")} are kept of one file.`;
  if (type !== "File" && type !== "OldFile" && type !== "ContiguousFile" && type !== "Directory")
    return `${shown(path)} is a ${type}; a package holds plain files only.`;
  const plain = pathOf(path);
  if (plain === "" && type === "Directory") return undefined;
  const segments = plain.split("/");
  const sound =
    plain.length <= LIMITS.packagePathCharactersMax &&
    segments.every((part) => /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/.test(part));
  return sound
    ? undefined
    : `${shown(path)} is no name for a file of a package: letters, digits, dots, dashes and underscores, below the package.`;
}

const shown = (path: string): string => JSON.stringify(path.slice(0, 100));

/**
 * A model archive is a model package in one file, tar or tar.gz: `model.yaml`, `schemas/input.json`,
 * `schemas/output.json`, and the weights at the paths of the manifest. It comes from a caller: nothing in it
 * is trusted, and no file is written to a path that it names.
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { Readable } from "node:stream";
import { Parser, type ReadEntry } from "tar";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { writeJson } from "../../core/json/exact-json.ts";
import { LIMITS } from "../../core/limits.ts";
import {
  PACKAGE_TEXTS,
  type SignedPackage,
  type VersionContent,
} from "../../core/models/published-version.ts";
import { type ContentCheck, checkSigned } from "./package-content.ts";
import { SIGNATURE_FILE, type SignatureCheck } from "./package-signature.ts";

/** The text files of an archive, with the most bytes of each. Every other file holds weights. */
const TEXTS: Record<(typeof PACKAGE_TEXTS)[number] | typeof SIGNATURE_FILE, number> = {
  "model.yaml": LIMITS.manifestBytesMax,
  "schemas/input.json": LIMITS.schemaBytesMax,
  "schemas/output.json": LIMITS.schemaBytesMax,
  [SIGNATURE_FILE]: LIMITS.packageSignatureBytesMax,
};

const isText = (path: string): path is keyof typeof TEXTS => Object.hasOwn(TEXTS, path);

export interface ArchivedFile {
  path: string;
  sha256: string;
  bytes: number;
}

const refused = (text: string): TemperaError => new TemperaError("package_invalid", text);

/**
 * Reads an archive to its end and checks it as a whole. Rejects with `package_invalid`, with all faults of
 * the package in one message.
 *
 * @param body the archive; its own errors pass through
 * @param checkContent checks texts and files together, in a thread: the parsers are slow
 * @param checkSignature absent: packages need no signature
 * @param storeWeights stores the bytes of one weight file, and returns when that is done
 */
export async function readModelArchive(
  body: AsyncIterable<Uint8Array>,
  {
    checkContent,
    checkSignature,
    storeWeights,
  }: {
    checkContent: ContentCheck;
    checkSignature?: SignatureCheck | undefined;
    storeWeights: (bytes: Readable, size: number) => Promise<void>;
  },
): Promise<{ model: VersionContent; files: ArchivedFile[]; signed?: SignedPackage }> {
  const texts = new Map<string, string>();
  const files = new Map<string, ArchivedFile>();
  for await (const { path, size, bytes } of entriesOf(body)) {
    if (texts.has(path) || files.has(path)) throw refused(`The archive has ${shown(path)} twice.`);
    if (isText(path)) {
      const textMax = TEXTS[path];
      if (size > textMax)
        throw refused(`${path} has ${countOf(size)} bytes; at most ${countOf(textMax)} are read.`);
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
    await storeWeights(Readable.from(hashed(), { objectMode: false }), size);
    files.set(path, { path, sha256: hash.digest("hex"), bytes: size });
  }
  const content = {
    texts: Object.fromEntries(PACKAGE_TEXTS.flatMap((path) => entryOf(path, texts.get(path)))),
    files: Object.fromEntries([...files].map(([path, { sha256 }]) => [path, sha256])),
  };
  const signature = texts.get(SIGNATURE_FILE);
  const model = await checkSigned(content, signature, { checkContent, checkSignature });
  if ("faults" in model) throw refused(model.faults.slice(0, LIMITS.inputFaultsMax).join("; "));
  return {
    model,
    files: [...files.values()],
    ...(signature !== undefined && { signed: { texts: content.texts, signature } }),
  };
}

const entryOf = (path: string, text: string | undefined): [string, string][] =>
  text === undefined ? [] : [[path, text]];

interface Entry {
  path: string;
  size: number;
  bytes: AsyncIterable<Uint8Array>;
}

/**
 * Reads the files of an archive one after another. The next one begins once the bytes of the one before it
 * were read.
 */
async function* entriesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<Entry> {
  const reader = new ArchiveReader();
  const feeding = reader.feed(body);
  feeding.catch((error) => reader.fail(error));
  try {
    for (let entry = await reader.next(); entry; entry = await reader.next())
      yield { path: pathOf(entry.path), size: entry.size, bytes: reader.bytesOf(entry) };
    await feeding;
    if (reader.entries === 0) throw refused("The archive is empty, or it is not a tar or tar.gz.");
  } finally {
    reader.abandon();
  }
}

/**
 * Parses a tar stream. Its parser pushes entries; the consumer pulls them, and waits for a change meanwhile.
 * There is one waiter at a time: the consumer waits for the next entry, or for the bytes of the current one.
 *
 * The first failure wins and is final: a fault of the archive, an error of the stream that feeds it, or the
 * consumer that leaves early. From then on entries are drained, and consumers get the failure.
 */
class ArchiveReader {
  readonly #parser: Parser;
  readonly #pending: ReadEntry[] = [];
  #stopFeeding = (): void => {};
  readonly #abandoned = new Promise<void>((resolve) => {
    this.#stopFeeding = resolve;
  });
  #wake = (): void => {};
  #failure: unknown;
  #ended = false;
  #bytes = 0;
  /** The number of entries so far, folders included. */
  entries = 0;

  constructor() {
    this.#parser = new Parser({
      strict: true,
      maxMetaEntrySize: 64 * 1024,
      onReadEntry: (entry) => this.#onEntry(entry),
    });
    this.#parser.on("error", (error: Error) =>
      this.#failWith(refused(`The archive cannot be read (${error.message}); send a whole tar.gz.`)),
    );
    this.#parser.on("end", () => {
      this.#ended = true;
      this.#wake();
    });
  }

  /** Feeds the parser, which pauses the stream while an entry is not read. */
  async feed(body: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const chunk of body) {
      if (this.#failure !== undefined) return;
      if (!this.#parser.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)))
        await Promise.race([once(this.#parser, "drain"), this.#abandoned]);
    }
    if (this.#failure === undefined) this.#parser.end();
  }

  /** Reports that the stream broke. Replaces any fault that was found in its truncated content. */
  fail(error: unknown): void {
    this.#failure = error;
    this.#wake();
  }

  /** Gives the next file, or `undefined` after the last. */
  async next(): Promise<ReadEntry | undefined> {
    for (;;) {
      const entry = this.#pending.shift();
      if (this.#failure !== undefined) throw this.#failure;
      if (entry || this.#ended) return entry;
      await this.#change();
    }
  }

  /** Reads the bytes of an entry. Throws the archive's failure when that breaks meanwhile. */
  async *bytesOf(entry: ReadEntry): AsyncGenerator<Uint8Array> {
    let seen = 0;
    const chunks = entry[Symbol.asyncIterator]();
    for (;;) {
      const next = await Promise.race([chunks.next(), this.#failed()]);
      if (next === "failed") throw this.#failure;
      if (next.done) break;
      const chunk = next.value as Uint8Array;
      seen += chunk.length;
      yield chunk;
    }
    if (this.#failure !== undefined) throw this.#failure;
    if (seen !== entry.size) throw refused(`${shown(entry.path)} ends after ${seen} bytes of ${entry.size}.`);
  }

  /** Ends the feeding, and drains the entries that were not read. */
  abandon(): void {
    this.#failure ??= refused("The archive was not read to its end.");
    this.#stopFeeding();
    for (const entry of this.#pending) entry.resume();
  }

  #onEntry(entry: ReadEntry): void {
    this.#bytes += entry.size;
    this.entries++;
    const fault = this.#failure === undefined ? entryFault(entry, this.#bytes, this.entries) : undefined;
    if (fault) this.#failWith(refused(fault));
    if (this.#failure !== undefined || entry.type === "Directory") return void entry.resume();
    this.#pending.push(entry);
    this.#wake();
  }

  #failWith(error: unknown): void {
    this.#failure ??= error;
    for (const entry of this.#pending) entry.resume();
    this.#wake();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  async #failed(): Promise<"failed"> {
    while (this.#failure === undefined) await this.#change();
    return "failed";
  }
}

const pathOf = (path: string): string => path.replace(/^(\.\/)+/, "").replace(/\/+$/, "");

/** Finds the fault of an entry before any byte of it is read. */
function entryFault({ type, path, size }: ReadEntry, total: number, count: number): string | undefined {
  if (count > LIMITS.packageFilesMax)
    return `The archive has more than ${countOf(LIMITS.packageFilesMax)} entries.`;
  if (total > LIMITS.packageBytesMax)
    return `The archive holds more than ${countOf(LIMITS.packageBytesMax)} bytes.`;
  if (size > LIMITS.packageFileBytesMax)
    return (
      `${shown(path)} has ${countOf(size)} bytes; ` +
      `a file may have at most ${countOf(LIMITS.packageFileBytesMax)}.`
    );
  if (type !== "File" && type !== "OldFile" && type !== "ContiguousFile" && type !== "Directory")
    return `${shown(path)} is a ${type}; a package may have plain files only.`;
  const plain = pathOf(path);
  if (plain === "" && type === "Directory") return undefined;
  const segments = plain.split("/");
  const valid =
    plain.length <= LIMITS.packagePathCharactersMax &&
    segments.every((part) => /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/.test(part));
  if (valid) return undefined;
  return (
    `${shown(path)} is not a valid path in a package: ` +
    "use letters, digits, dots, dashes and underscores, below the package."
  );
}

const countOf = (count: number): string => count.toLocaleString("en-US");

const shown = (path: string): string => writeJson(path.slice(0, 100));

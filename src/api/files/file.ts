import { finished, Readable } from "node:stream";
import type { Context } from "hono";
import { CATALOGUE } from "../../core/errors/catalogue.ts";
import { isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import { codingOfKey } from "../../core/files/file.ts";
import { isPublic } from "../../core/files/lifecycle.ts";
import type { ObjectInfo, ObjectStore } from "../../core/files/object-store.ts";
import { createSignatures } from "../../core/files/signatures.ts";
import { falError } from "../../fal/index.ts";
import { noteWrongKey } from "../auth/auth-failure-limiter.ts";
import { callOf } from "../auth/call.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { answerJson } from "../http/answer-json.ts";
import { REQUEST_ID_HEADER, requestIdOf } from "../http/request-id.ts";
import type { Budgets } from "../limits/budgets.ts";
import { nameOfAddress } from "../limits/call-limiter.ts";
import { createFileCaller } from "./caller.ts";
import { isRangeValid, judgeConditions } from "./conditions.ts";
import type { FindReadable } from "./readable.ts";
import { shownHeaders } from "./shown-type.ts";

/**
 * Lets pages of any origin show a file, also those that isolate themselves (COEP). No cookie opens a file:
 * who has its address can read it anyway, and a hidden one needs a key or a signature.
 */
const EMBEDDABLE = { "cross-origin-resource-policy": "cross-origin" };
const FOR_EVER = "public, max-age=31536000, immutable";

/** The parts that send files. */
export interface FileSender {
  objects: Pick<ObjectStore, "head" | "get">;
  /** Counts the files on their way to an address. */
  budgets: Pick<Budgets, "files">;
  trustProxy?: boolean | undefined;
}

/** Serves an artifact without a record (docs/decisions/0007), without a database. 404 when it is missing. */
export function createArtifact(sender: FileSender) {
  return async (c: Context, path: string): Promise<Response> => {
    const key = `artifacts/${path}`;
    const info = await sender.objects.head(key);
    if (!info) throw new TemperaError("file_unknown");
    return serve(c, sender, { ...info, key, etag: path.slice(3, 67), cacheControl: FOR_EVER });
  };
}

/**
 * Serves a file with a record (docs/decisions/0011): an upload, or an artifact with a lifecycle. A reader has
 * the identity of the key or CDN token in `Authorization` and the one in `?identity=`; an invalid one is
 * ignored.
 */
export function createFile(
  api: Pick<ApiDependencies, "keyRing" | "tokens" | "clock" | "uploadSecret" | "budgets"> & FileSender,
  findReadable: FindReadable,
) {
  const callerOf = createFileCaller(api);
  const signatures = createSignatures({ secret: api.uploadSecret, clock: api.clock });
  const identitiesOf = async (c: Context, fileId: string): Promise<string[]> => {
    const authorization = c.req.header("authorization");
    const signed = signatures.identityOf(fileId, c.req.query("identity"));
    const caller =
      authorization === undefined
        ? undefined
        : await callerOf(authorization, callOf(c)).catch((error) => {
            // A bad key gets the answer of no key, so that it does not reveal hidden files.
            if (!isTemperaError(error) || CATALOGUE[error.code].status !== 401) throw error;
            noteWrongKey(c);
            return undefined;
          });
    return [caller?.ownerId, signed].filter((ownerId) => ownerId !== undefined);
  };
  return async (c: Context, { fileId, name }: { fileId: string; name: string }): Promise<Response> => {
    const file = await api.budgets.lookups.run(nameOfAddress(c, api.trustProxy === true), 1, () =>
      findReadable(fileId, () => identitiesOf(c, fileId)),
    );
    if (file.name !== name) throw new TemperaError("file_unknown");
    const { stored, objectKey: key, contentType, lifecycle } = file;
    const left =
      stored.expiresAtMs === undefined
        ? undefined
        : Math.floor((stored.expiresAtMs - api.clock.nowMs()) / 1000);
    const cacheControl = !isPublic(lifecycle.acl)
      ? "private, no-cache"
      : left === undefined
        ? FOR_EVER
        : `public, max-age=${Math.min(left, 31_536_000)}, immutable`;
    return serve(c, api, { key, bytes: stored.bytes, etag: stored.etag, contentType, cacheControl });
  };
}

/**
 * Answers GET and HEAD of an object, with one `Range` and conditions. 412 when `If-Match` names another file,
 * 416 for a range outside the object, 429 when too many files are on their way to the caller's address: a
 * public file needs no key, and each holds a descriptor of the object store until it is sent.
 */
async function serve(
  c: Context,
  sender: FileSender,
  {
    key,
    bytes,
    contentType,
    etag: name,
    cacheControl,
  }: ObjectInfo & { key: string; etag: string; cacheControl: string },
): Promise<Response> {
  const etag = `"${name}"`;
  const coding = codingOfKey(key);
  const headers: Record<string, string> = {
    ...shownHeaders(contentType),
    "accept-ranges": "bytes",
    "cache-control": cacheControl,
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox",
    ...EMBEDDABLE,
    ...(coding !== undefined && { "content-encoding": coding }),
    etag,
    [REQUEST_ID_HEADER]: requestIdOf(c),
  };
  const conditions = { ifMatch: c.req.header("if-match"), ifNoneMatch: c.req.header("if-none-match") };
  const judged = judgeConditions(conditions, name);
  if (judged === "failed")
    throw new TemperaError("precondition_failed", "The file has another ETag than those in If-Match.");
  if (judged === "unchanged") return c.body(null, 304, headers);

  const isValid = isRangeValid(c.req.header("if-range"), name);
  const range = isValid ? parseRange(c.req.header("range"), bytes) : undefined;
  if (range === "unsatisfiable") {
    const { status, body } = falError({
      code: "range_unsatisfiable",
      message: CATALOGUE.range_unsatisfiable.message,
    });
    return answerJson(c, body, status, { "content-range": `bytes */${bytes}`, ...EMBEDDABLE });
  }
  headers["content-length"] = String(range ? range.end - range.start + 1 : bytes);
  if (range) headers["content-range"] = `bytes ${range.start}-${range.end}/${bytes}`;
  const status = range ? 206 : 200;
  if (c.req.method === "HEAD") return c.body(null, status, headers);
  return c.body(await sentBody(c, sender, key, range), status, headers);
}

/** Opens the bytes of an object, which count for the caller's address until they are read or it has left. */
async function sentBody(
  c: Context,
  { objects, budgets, trustProxy }: FileSender,
  key: string,
  range: { start: number; end: number } | undefined,
): Promise<ReadableStream> {
  const held = budgets.files.acquire(nameOfAddress(c, trustProxy === true));
  try {
    const object = await objects.get(key, range);
    if (!object) throw new TemperaError("file_unknown");
    finished(object.body, () => held[Symbol.dispose]());
    return Readable.toWeb(object.body) as ReadableStream;
  } catch (error) {
    held[Symbol.dispose]();
    throw error;
  }
}

/**
 * Parses one byte range (RFC 9110 §14): `bytes=0-99`, `bytes=100-`, `bytes=-100`. Any other header is
 * ignored, as the RFC allows.
 *
 * @param bytes the object's length
 */
export function parseRange(
  header: string | undefined,
  bytes: number,
): { start: number; end: number } | "unsatisfiable" | undefined {
  const [, first, last] = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? "") ?? [];
  if (first === undefined || last === undefined || (first === "" && last === "")) return undefined;
  if (first === "") {
    const suffix = Number(last);
    return suffix === 0 || bytes === 0
      ? "unsatisfiable"
      : { start: Math.max(0, bytes - suffix), end: bytes - 1 };
  }
  const start = Number(first);
  const end = last === "" ? bytes - 1 : Math.min(Number(last), bytes - 1);
  if (last !== "" && Number(last) < start) return undefined;
  return start >= bytes ? "unsatisfiable" : { start, end };
}

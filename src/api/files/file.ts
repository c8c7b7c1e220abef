import { Readable } from "node:stream";
import type { Context } from "hono";
import { CATALOGUE } from "../../core/errors/catalogue.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { falError } from "../../fal/index.ts";
import { answerJson } from "../answer-json.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { REQUEST_ID_HEADER, requestIdOf } from "../request-id.ts";

const NAME = /^[0-9a-f]{2}\/([0-9a-f]{64})\.[a-z0-9]{1,8}$/;

/**
 * Serves an artifact: GET and HEAD, one `Range`, conditional requests. Artifacts are addressed by their content, so they
 * may be cached for ever. 404 for anything that is no artifact, 416 for a range outside it.
 */
export const createFile =
  ({ objects }: Pick<ApiDependencies, "objects">) =>
  async (c: Context, path: string): Promise<Response> => {
    const sha256 = NAME.exec(path)?.[1];
    if (!sha256) throw new TemperaError("file_unknown");
    const key = `artifacts/${path}`;
    const info = await objects.head(key);
    if (!info) throw new TemperaError("file_unknown");
    const etag = `"${sha256}"`;
    const headers: Record<string, string> = {
      "content-type": info.contentType,
      "accept-ranges": "bytes",
      "cache-control": "public, max-age=31536000, immutable",
      "x-content-type-options": "nosniff",
      etag,
      [REQUEST_ID_HEADER]: requestIdOf(c),
    };
    if (
      c.req
        .header("if-none-match")
        ?.split(",")
        .some((tag) => tag.trim() === etag || tag.trim() === "*")
    )
      return c.body(null, 304, headers);

    const ifRange = c.req.header("if-range");
    const range = ifRange === undefined || ifRange === etag ? parseRange(c.req.header("range"), info.bytes) : undefined;
    if (range === "unsatisfiable") {
      const { status, body } = falError({ code: "range_unsatisfiable", message: CATALOGUE.range_unsatisfiable.says });
      return answerJson(c, body, status, { "content-range": `bytes */${info.bytes}` });
    }
    headers["content-length"] = String(range ? range.end - range.start + 1 : info.bytes);
    if (range) headers["content-range"] = `bytes ${range.start}-${range.end}/${info.bytes}`;
    const status = range ? 206 : 200;
    if (c.req.method === "HEAD") return c.body(null, status, headers);
    const object = await objects.get(key, range);
    if (!object) throw new TemperaError("file_unknown");
    return c.body(Readable.toWeb(object.body) as ReadableStream, status, headers);
  };

/**
 * One byte range (RFC 9110 §14): `bytes=0-99`, `bytes=100-`, `bytes=-100`. Anything else is ignored, as the RFC allows.
 *
 * @param bytes the object's length
 */
export function parseRange(header: string | undefined, bytes: number): { start: number; end: number } | "unsatisfiable" | undefined {
  const [, first, last] = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? "") ?? [];
  if (first === undefined || last === undefined || (first === "" && last === "")) return undefined;
  if (first === "") {
    const suffix = Number(last);
    return suffix === 0 || bytes === 0 ? "unsatisfiable" : { start: Math.max(0, bytes - suffix), end: bytes - 1 };
  }
  const start = Number(first);
  const end = last === "" ? bytes - 1 : Math.min(Number(last), bytes - 1);
  if (last !== "" && Number(last) < start) return undefined;
  return start >= bytes ? "unsatisfiable" : { start, end };
}

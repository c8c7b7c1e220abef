/**
 * The host name of files (`server.filesUrl`). Files come from strangers: on an origin of their own, a page
 * that one of them might become can neither call the API nor read what the API keeps in the browser.
 */
import type { Context, MiddlewareHandler } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { TREES, treeOfHost } from "../../fal/index.ts";
import { authorityOf, originOf, rawPath } from "../http/address.ts";
import { REQUEST_ID_HEADER, requestIdOf } from "../http/request-id.ts";

/** A key or a token, which no link and no page of a browser sends by itself. */
const EXPLICIT = /^(?:key|bearer)\s/i;

/** Throws `misdirected_request` for a call to the API on the host name of the files. */
export function assertApiHost(authority: string, filesUrl: string | undefined): void {
  if (isFilesHost(authority, filesUrl))
    throw new TemperaError(
      "misdirected_request",
      "This host name serves files only. Call the API at its own address.",
    );
}

/** Refuses every call on the host name of the files but those to the files tree. */
export function createFilesHostGuard(filesUrl: string | undefined): MiddlewareHandler {
  return (c, next) => {
    if (!c.req.path.startsWith(`${TREES.files.prefix}/`)) assertApiHost(authorityOf(originOf(c)), filesUrl);
    return next();
  };
}

/**
 * Sends a browser that opens a file on the host name of the API to that of the files; `undefined` where the
 * file may be served. A call with a key may have it anywhere: clients do not pass their key on to the host
 * that they are sent to, and no page opens a file so.
 */
export function filesHostRedirect(c: Context, filesUrl: string | undefined): Response | undefined {
  if (filesUrl === undefined || EXPLICIT.test(c.req.header("authorization") ?? "")) return undefined;
  const authority = authorityOf(originOf(c));
  if (isFilesHost(authority, filesUrl) || treeOfHost(authority) === TREES.files) return undefined;
  const query = c.req.url.indexOf("?");
  return c.body(null, 307, {
    location: filesUrl + rawPath(c) + (query < 0 ? "" : c.req.url.slice(query)),
    "cross-origin-resource-policy": "cross-origin",
    [REQUEST_ID_HEADER]: requestIdOf(c),
  });
}

const isFilesHost = (authority: string, filesUrl: string | undefined): boolean =>
  filesUrl !== undefined && hostNameOf(authority) === hostNameOf(authorityOf(filesUrl));

/** Reads the host name of an authority, in lower case and without its port. */
const hostNameOf = (authority: string): string => authority.toLowerCase().replace(/:\d+$/, "");

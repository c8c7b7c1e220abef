/**
 * Host routing (contract §1.5). A call may name its tree by one of fal's host names, by a path prefix, or
 * through the proxy form. A call by host name is dispatched as if it had used that tree's prefix, so the rest
 * of the gateway knows prefixes only.
 */
import type { Hono, MiddlewareHandler } from "hono";
import { getPathNoStrict } from "hono/utils/url";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { onGateway, TREES, treeOfHost } from "../../fal/index.ts";
import { authorityOf, FORWARDED_ORIGIN, forwardedOrigin } from "./address.ts";

/**
 * Makes the function that reads the path for route matching: decoded, without a last slash, with its prefix.
 */
export function createGetPath(trustProxy: boolean): (request: Request) => string {
  return (request) => {
    const path = getPathNoStrict(request);
    const tree = treeOfHost(authorityOf((trustProxy && forwardedOrigin(request)) || request.url));
    if (!tree) return path;
    return path === "/" ? tree.prefix || path : onGateway(tree, path);
  };
}

/**
 * Trusts a proxy about the address that the caller used. Only for a gateway that callers cannot reach but
 * through that proxy.
 */
export const trustForwardedOrigin: MiddlewareHandler = (c, next) => {
  const origin = forwardedOrigin(c.req.raw);
  if (origin) c.set(FORWARDED_ORIGIN, origin);
  return next();
};

/** Refuses plain HTTP calls to the trees that other services or protocols serve. */
export function unservedTreeRoutes(app: Hono): void {
  app.all(`${TREES.ws.prefix}/*`, () => {
    throw new TemperaError("websocket_required");
  });
  app.all(`${TREES.platform.prefix}/*`, () => {
    throw new TemperaError("misdirected_request");
  });
}

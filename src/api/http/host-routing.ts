/**
 * The ways in (contract §1.5): by a host name of fal's, by a path prefix, through the proxy form. A request
 * that came by a host name is dispatched as if it had come by that tree's prefix; the rest of the gateway
 * knows prefixes only.
 */
import type { Hono, MiddlewareHandler } from "hono";
import { getPathNoStrict } from "hono/utils/url";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { onGateway, TREES, treeOfHost } from "../../fal/index.ts";
import { authorityOf, FORWARDED_ORIGIN, forwardedOrigin } from "./address.ts";

/** The path that routes are matched with: decoded, without its last slash, and on its tree's prefix. */
export const createGetPath = (trustProxy: boolean): ((request: Request) => string) => {
  return (request) => {
    const path = getPathNoStrict(request);
    const tree = treeOfHost(authorityOf((trustProxy && forwardedOrigin(request)) || request.url));
    if (!tree) return path;
    return path === "/" ? tree.prefix || path : onGateway(tree, path);
  };
};

/**
 * Believes a proxy about the address the caller used; only for a gateway that nobody reaches but through that
 * proxy.
 */
export const believeForwarded: MiddlewareHandler = (c, next) => {
  const origin = forwardedOrigin(c.req.raw);
  if (origin) c.set(FORWARDED_ORIGIN, origin);
  return next();
};

/** What the gateway knows by name and does not serve as plain HTTP. */
export function ingressRoutes(app: Hono): void {
  app.all(`${TREES.ws.prefix}/*`, () => {
    throw new TemperaError("websocket_required");
  });
  app.all(`${TREES.platform.prefix}/*`, () => {
    throw new TemperaError("platform_api_elsewhere");
  });
}

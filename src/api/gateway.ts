import { type Context, Hono, type MiddlewareHandler } from "hono";
import { cors } from "hono/cors";
import { TemperaError } from "../core/errors/tempera-error.ts";
import {
  parseQueuePath,
  proxyTarget,
  QUEUE_METHODS,
  type QueueAction,
  type QueuePath,
  TREES,
} from "../fal/index.ts";
import { createAuthFailureLimiter } from "./auth/auth-failure-limiter.ts";
import { createIdentifyCaller } from "./auth/identify-caller.ts";
import { tokenRoutes } from "./auth/token-routes.ts";
import type { ApiDependencies } from "./dependencies.ts";
import { createFilesHostGuard } from "./files/files-host.ts";
import { filesRoutes, storageRoutes } from "./files/routes.ts";
import { addHealthRoutes, HEALTH_PATHS } from "./health/routes.ts";
import { rawPath } from "./http/address.ts";
import { answerError } from "./http/answer-error.ts";
import { createGetPath, trustForwardedOrigin, unservedTreeRoutes } from "./http/host-routing.ts";
import { createInnerRequest } from "./http/inner-request.ts";
import { methodNotAllowed } from "./http/method-not-allowed.ts";
import { createCallLimiter } from "./limits/call-limiter.ts";
import { modelRoutes } from "./models/routes.ts";
import { pipelineRoutes } from "./pipelines/routes.ts";
import { createCancel } from "./queue/cancel.ts";
import { createRerun } from "./queue/rerun.ts";
import { createResult } from "./queue/result.ts";
import { createStatus } from "./queue/status.ts";
import { createStatusStream } from "./queue/status-stream.ts";
import { createSubmit } from "./queue/submit.ts";
import { pathUnknown } from "./requests/nearest-endpoint.ts";
import { runRoutes } from "./run/routes.ts";
import { webhookRoutes } from "./webhooks/jwks.ts";

/** Headers that a browser's script may read (contract §1.5). */
const EXPOSED_HEADERS = [
  "x-fal-request-id",
  "x-fal-error-type",
  "x-fal-retryable",
  "x-fal-needs-retry",
  "x-fal-request-timeout-type",
  "x-fal-billable-units",
  "x-fal-served-from",
  "x-tempera-cache",
  "retry-after",
  "etag",
  "content-range",
  "accept-ranges",
];

export const PROXY_PATH = "/api/fal/proxy";

/** Builds the public HTTP service: the table of its routes. */
export function createGateway(api: ApiDependencies): Hono {
  const app = new Hono({ getPath: createGetPath(api.trustProxy === true) });
  if (api.trustProxy) app.use(trustForwardedOrigin);
  app.use(createAuthFailureLimiter({ trustProxy: api.trustProxy === true, failures: api.authFailures }));
  app.use(createFilesHostGuard(api.filesUrl));
  app.use(createBrowserHeaders());
  const limitCalls = createCallLimiter(api, createIdentifyCaller(api));
  // A call in the proxy form passes here twice, and is limited as the call that it contains.
  app.use((c, next) => (c.req.path === PROXY_PATH ? next() : limitCalls(c, next)));

  queueRoutes(app, api);
  const runAtRoot = runRoutes(app, api);
  filesRoutes(app, api);
  proxyRoutes(app, api);
  addHealthRoutes(app, api);
  for (const path of HEALTH_PATHS) app.all(path, methodNotAllowed(api, "GET, HEAD"));

  unservedTreeRoutes(app);
  webhookRoutes(app, api);
  storageRoutes(app, api);
  pipelineRoutes(app, api);
  modelRoutes(app, api);
  tokenRoutes(app, api);
  app.all("*", runAtRoot);
  app.onError((error, c) => answerError(c, error, api));
  return app;
}

/** Adds CORS headers for browsers. Only browsers send an origin, so other callers are spared the headers. */
export function createBrowserHeaders(): MiddlewareHandler {
  const addHeaders = cors({
    origin: "*",
    allowMethods: ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
    exposeHeaders: EXPOSED_HEADERS,
    maxAge: 86_400,
  });
  // A cached file serves scripts as well as plain `<img>` tags, which send no origin.
  return (c, next) =>
    c.req.header("origin") || c.req.path.startsWith("/files/") ? addHeaders(c, next) : next();
}

/** Adds fal's queue: `POST /queue/{endpoint}`, and what follows `/requests/{id}` below it. */
function queueRoutes(app: Hono, api: ApiDependencies): void {
  const actions: Record<QueueAction, (c: Context, path: QueuePath) => Promise<Response>> = {
    submit: createSubmit(api),
    status: createStatus(api),
    stream: createStatusStream(api),
    result: createResult(api),
    cancel: createCancel(api),
    rerun: createRerun(api),
  };
  app.all(`${TREES.queue.prefix}/*`, async (c) => {
    const below = rawPath(c).slice(TREES.queue.prefix.length);
    const path = parseQueuePath(below);
    try {
      if (!path) throw pathUnknown(api.registry, c, below);
      const wanted = QUEUE_METHODS[path.action];
      const isHead = c.req.method === "HEAD" && wanted === "GET";
      if (c.req.method !== wanted && !isHead)
        return methodNotAllowed(api, wanted === "GET" ? "GET, HEAD" : wanted)(c);
      const response = await actions[path.action](c, path);
      // Hono drops the body of an answer to HEAD, which would leave a stream open.
      if (isHead) await response.body?.cancel();
      return response;
    } catch (error) {
      return answerError(c, error, { log: api.log, ...(path && { action: path.action }) });
    }
  });
}

/** Adds the proxy form: a call whose target stands in a header is dispatched to that path of this gateway. */
function proxyRoutes(app: Hono, api: ApiDependencies): void {
  app.all(PROXY_PATH, async (c) => {
    const target = proxyTarget(c.req.header("x-fal-target-url") ?? "");
    if (!target) throw new TemperaError("proxy_target_invalid");
    // No path has this method, and no request can be made with it.
    if (c.req.method === "TRACE") return methodNotAllowed(api, "GET, HEAD, POST, PUT, DELETE")(c);
    return app.fetch(requestTo(target, c), c.env);
  });
}

function requestTo(target: string, c: Context): Request {
  // The target is put into our own address, not resolved against it, so that it cannot name another host.
  const url = new URL(c.req.url);
  const query = target.indexOf("?");
  url.pathname = query < 0 ? target : target.slice(0, query);
  url.search = query < 0 ? "" : target.slice(query);
  const { method, body, signal } = c.req.raw;
  const headers = new Headers(c.req.raw.headers);
  headers.delete("x-fal-target-url");
  const hasBody = method !== "GET" && method !== "HEAD" && body;
  const init = { method, headers, signal, ...(hasBody && { body, duplex: "half" }) };
  return createInnerRequest(url, init as RequestInit);
}

import { type Context, Hono } from "hono";
import { cors } from "hono/cors";
import { TemperaError } from "../core/errors/tempera-error.ts";
import {
  parseQueuePath,
  proxyTarget,
  QUEUE_METHODS,
  type QueuePath,
  type QueueVerb,
  TREES,
} from "../fal/index.ts";
import { rawPath } from "./http/address.ts";
import { answerError } from "./http/answer-error.ts";
import { answerJson } from "./http/answer-json.ts";
import type { ApiDependencies } from "./dependencies.ts";
import { filesRoutes } from "./files/routes.ts";
import { createReady } from "./http/ready.ts";
import { believeForwarded, createGetPath, ingressRoutes } from "./http/host-routing.ts";
import { createKeyGuard } from "./auth/key-guard.ts";
import { methodNotAllowed } from "./http/method-not-allowed.ts";
import { modelRoutes } from "./models/routes.ts";
import { pipelineRoutes } from "./pipelines/routes.ts";
import { createCancel } from "./queue/cancel.ts";
import { createRerun } from "./queue/rerun.ts";
import { createResult } from "./queue/result.ts";
import { createStatus } from "./queue/status.ts";
import { createStatusStream } from "./queue/status-stream.ts";
import { createSubmit } from "./queue/submit.ts";
import { tokenRoutes } from "./auth/token-routes.ts";
import { runRoutes } from "./run/routes.ts";
import { storageRoutes } from "./files/storage-routes.ts";
import { webhookRoutes } from "./webhooks/jwks.ts";

/** Headers a browser's script may read (contract §1.5). */
const EXPOSED = [
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

/** The public HTTP service: the table of its routes. */
export function createGateway(api: ApiDependencies): Hono {
  const verbs: Record<QueueVerb, (c: Context, path: QueuePath) => Promise<Response>> = {
    submit: createSubmit(api),
    status: createStatus(api),
    stream: createStatusStream(api),
    result: createResult(api),
    cancel: createCancel(api),
    rerun: createRerun(api),
  };
  const ready = createReady(api);

  const app = new Hono({ getPath: createGetPath(api.trustProxy === true) });
  if (api.trustProxy) app.use(believeForwarded);
  // Only browsers send an origin; everybody else is spared the headers. Files are kept in caches that a page
  // shares with plain `<img>` tags, which send none.
  const browsers = cors({
    origin: "*",
    allowMethods: ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
    exposeHeaders: EXPOSED,
    maxAge: 86_400,
  });
  app.use(createKeyGuard(api));
  app.use((c, next) =>
    c.req.header("origin") || c.req.path.startsWith("/files/") ? browsers(c, next) : next(),
  );

  app.all(`${TREES.queue.prefix}/*`, async (c) => {
    const path = parseQueuePath(rawPath(c).slice(TREES.queue.prefix.length));
    try {
      if (!path) throw new TemperaError("path_unknown", `Path ${c.req.path.slice(0, 200)} not found`);
      if (c.req.method !== QUEUE_METHODS[path.verb]) {
        return methodNotAllowed(api, QUEUE_METHODS[path.verb])(c);
      }
      return await verbs[path.verb](c, path);
    } catch (error) {
      return answerError(c, error, { log: api.log, ...(path && { verb: path.verb }) });
    }
  });
  const runAtRoot = runRoutes(app, api);
  filesRoutes(app, api);
  app.all(PROXY_PATH, async (c) => {
    const path = proxyTarget(c.req.header("x-fal-target-url") ?? "");
    if (!path) throw new TemperaError("proxy_target_invalid");
    // No path knows it, and no request can be made with it.
    if (c.req.method === "TRACE") return methodNotAllowed(api, "GET, HEAD, POST, PUT, DELETE")(c);
    // Put into our own address, not resolved against it: no path can name another host.
    const url = new URL(c.req.url);
    const query = path.indexOf("?");
    url.pathname = query < 0 ? path : path.slice(0, query);
    url.search = query < 0 ? "" : path.slice(query);
    const headers = new Headers(c.req.raw.headers);
    headers.delete("x-fal-target-url");
    const { method, body } = c.req.raw;
    const hasBody = method !== "GET" && method !== "HEAD" && body;
    const { signal } = c.req.raw;
    const inner = new Request(url, {
      method,
      headers,
      signal,
      ...(hasBody && { body, duplex: "half" }),
    } as RequestInit);
    return app.fetch(inner, c.env);
  });
  app.get("/health/live", (c) => answerJson(c, { status: "live" }));
  app.get("/health/ready", ready);

  ingressRoutes(app);
  webhookRoutes(app, api);
  storageRoutes(app, api);
  pipelineRoutes(app, api);
  modelRoutes(app, api);
  tokenRoutes(app, api);
  app.all("*", runAtRoot);
  app.onError((error, c) => answerError(c, error, api));
  return app;
}

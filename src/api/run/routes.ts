/**
 * Calls that wait for their job: sync runs (`run.ts`) and streams of events (`stream.ts`). Both start a job
 * as a submit does, and follow it (`follow-job.ts`) for as long as their caller is connected.
 */
import type { Context, Hono } from "hono";
import { appLength, isEndpointId, pathSegments } from "../../core/models/endpoint.ts";
import { TREES } from "../../fal/index.ts";
import { rawPath } from "../http/address.ts";
import { methodNotAllowed } from "../http/method-not-allowed.ts";
import { pathUnknown } from "../requests/nearest-endpoint.ts";
import { createRun, type RunApi } from "./run.ts";
import { createStream } from "./stream.ts";

const METHODS = ["POST", "GET"];

/**
 * Serves sync runs and streams: `/run/{endpoint}` and `/run/{endpoint}/stream`. Returns the handler of the
 * same paths at the root, which has to come after every other route.
 */
export function runRoutes(app: Hono, api: RunApi): (c: Context) => Promise<Response> {
  const run = createRun(api);
  const stream = createStream(api);

  const serve = async (c: Context, path: string): Promise<Response> => {
    const segments = pathSegments(path);
    const endpoint = segments.join("/");
    if (!isEndpointId(endpoint)) throw pathUnknown(api.registry, c, path);
    if (!METHODS.includes(c.req.method)) {
      return methodNotAllowed(api, METHODS.join(", "))(c);
    }
    // The name of a model may end with `stream` itself.
    const streamed =
      segments.at(-1) === "stream" && segments.length > appLength(segments) && !api.registry.route(endpoint);
    return streamed ? stream(c, segments.slice(0, -1).join("/")) : run(c, endpoint);
  };
  app.all(`${TREES.run.prefix}/*`, (c) => serve(c, rawPath(c).slice(TREES.run.prefix.length)));
  return (c) => serve(c, rawPath(c));
}

/**
 * Routes of files (contract §6): the files tree, on which files are read, uploaded and signed, and the routes
 * of the REST tree that announce uploads. The other files of this folder each serve one of them.
 */
import type { Context, Hono } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { type FilePath, parseFilePath, TREES } from "../../fal/index.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { rawPath } from "../http/address.ts";
import { methodNotAllowed } from "../http/method-not-allowed.ts";
import { createCdnToken } from "./cdn-token.ts";
import { createArtifact, createFile } from "./file.ts";
import { filesHostRedirect } from "./files-host.ts";
import { createInitiate } from "./initiate.ts";
import { createComplete, createMultipart, createPart } from "./parts.ts";
import { createFindReadable } from "./readable.ts";
import { createReceive, createUpload } from "./receive.ts";
import { createSign, createSignArtifact } from "./sign.ts";

/** Serves the files tree. */
export function filesRoutes(app: Hono, api: ApiDependencies): void {
  const findReadable = createFindReadable(api);
  const artifact = createArtifact(api);
  const file = createFile(api, findReadable);
  const sign = createSign(api, findReadable);
  const signArtifact = createSignArtifact(api);
  const receive = createReceive(api);
  const upload = createUpload(api);
  const multipart = createMultipart(api);
  const part = createPart(api);
  const complete = createComplete(api);
  const elsewhere = (c: Context) => filesHostRedirect(c, api.filesUrl);

  /** Gives the handlers of a path by method. HEAD is served as GET. */
  const handlersOf = (c: Context, path: FilePath): Record<string, () => Promise<Response>> => {
    switch (path.kind) {
      case "artifact":
        return path.sign
          ? { POST: () => signArtifact(c, path.path) }
          : { GET: async () => elsewhere(c) ?? artifact(c, path.path) };
      case "file":
        return path.sign
          ? { POST: () => sign(c, path) }
          : { GET: async () => elsewhere(c) ?? file(c, path), PUT: () => receive(c, path) };
      case "upload":
        return { POST: () => upload(c) };
      case "multipart":
        return { POST: () => multipart(c) };
      case "part":
        return { PUT: () => part(c, path) };
      case "complete":
        return { POST: () => complete(c, path) };
    }
  };

  app.all(`${TREES.files.prefix}/*`, async (c) => {
    const path = parseFilePath(rawPath(c).slice(TREES.files.prefix.length + 1));
    if (!path) throw new TemperaError("file_unknown");
    const handlers = handlersOf(c, path);
    const handle = handlers[c.req.method === "HEAD" ? "GET" : c.req.method];
    if (handle) return handle();
    const allow = Object.keys(handlers).flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method]));
    return methodNotAllowed(api, allow.join(", "))(c);
  });
}

/** Serves the announcements of uploads (contract §6.1, §6.2); their bytes are sent to the files tree. */
export function storageRoutes(app: Hono, api: ApiDependencies): void {
  const storage = `${TREES.rest.prefix}/storage`;
  const handlers = {
    "upload/initiate": createInitiate(api, { inParts: false }),
    "upload/initiate-multipart": createInitiate(api, { inParts: true }),
    "auth/token": createCdnToken(api),
  };
  for (const [path, handle] of Object.entries(handlers)) {
    app.post(`${storage}/${path}`, handle);
    app.all(`${storage}/${path}`, methodNotAllowed(api, "POST"));
  }
}

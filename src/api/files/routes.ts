import type { Context, Hono } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { type FilePath, parseFilePath, TREES } from "../../fal/index.ts";
import { rawPath } from "../http/address.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { methodNotAllowed } from "../http/method-not-allowed.ts";
import { createArtifact, createFile } from "./file.ts";
import { createComplete, createMultipart, createPart } from "./parts.ts";
import { createFindReadable } from "./readable.ts";
import { createReceive, createUpload } from "./receive.ts";
import { createSign, createSignArtifact } from "./sign.ts";

/** The files tree (contract §6): files are read, uploaded and signed here. */
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

  /** By method: what a path can do. HEAD goes as GET. */
  const verbs = (c: Context, path: FilePath): Record<string, () => Promise<Response>> => {
    switch (path.kind) {
      case "artifact":
        return path.sign ? { POST: () => signArtifact(c, path.path) } : { GET: () => artifact(c, path.path) };
      case "file":
        return path.sign
          ? { POST: () => sign(c, path) }
          : { GET: () => file(c, path), PUT: () => receive(c, path) };
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
    const known = verbs(c, path);
    const verb = known[c.req.method === "HEAD" ? "GET" : c.req.method];
    if (verb) return verb();
    const allow = Object.keys(known).flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method]));
    return methodNotAllowed(api, allow.join(", "))(c);
  });
}

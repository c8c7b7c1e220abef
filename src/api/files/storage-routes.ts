import type { Hono } from "hono";
import { TREES } from "../../fal/index.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { methodNotAllowed } from "../http/method-not-allowed.ts";
import { createCdnToken } from "./cdn-token.ts";
import { createInitiate } from "./initiate.ts";

/** What announces uploads (contract §6.1, §6.2); the bytes go to the files tree. */
export function storageRoutes(app: Hono, api: ApiDependencies): void {
  const storage = `${TREES.rest.prefix}/storage`;
  const verbs = {
    "upload/initiate": createInitiate(api, { inParts: false }),
    "upload/initiate-multipart": createInitiate(api, { inParts: true }),
    "auth/token": createCdnToken(api),
  };
  for (const [path, verb] of Object.entries(verbs)) {
    app.post(`${storage}/${path}`, verb);
    app.all(`${storage}/${path}`, methodNotAllowed(api, "POST"));
  }
}

import type { Hono } from "hono";
import { TREES } from "../../fal/index.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { createCdnToken } from "./cdn-token.ts";
import { createInitiate } from "./initiate.ts";

/** What announces uploads (contract §6.1, §6.2); the bytes go to the files tree. */
export function storageRoutes(app: Hono, api: ApiDependencies): void {
  const storage = `${TREES.rest.prefix}/storage`;
  app.post(`${storage}/upload/initiate`, createInitiate(api, { inParts: false }));
  app.post(`${storage}/upload/initiate-multipart`, createInitiate(api, { inParts: true }));
  app.post(`${storage}/auth/token`, createCdnToken(api));
}

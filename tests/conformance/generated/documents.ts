/** The OpenAPI documents of a running server. */
import type { Target } from "../fal/context.ts";
import type { request } from "../fal/http.ts";

/** The part of OpenAPI that is read. */
interface OpenapiDocument {
  /** Operations by path and method. */
  paths: Record<string, Record<string, unknown>>;
}

export interface Document {
  /** Its name in the results: `admin`, or an endpoint. */
  name: string;
  content: OpenapiDocument;
  /** The URL that its paths continue. */
  baseUrl: string;
}

type Request = typeof request;

/** The path of the call that revokes a key. */
const REVOKE = "/v1/keys/{key_id}";

/**
 * Returns the admin service's document in parts. What can be done to one key is one of its own: the generator
 * reuses ids that it has seen in answers, and the list of keys has the one that it calls with.
 */
export async function adminDocuments({ adminUrl = "" }: Target, get: Request): Promise<Document[]> {
  const content = (await get(`${adminUrl}/v1/openapi.json`)).json() as OpenapiDocument;
  const { [REVOKE]: revoke = {}, ...paths } = content.paths;
  const part = (entries: [string, Record<string, unknown>][]): Document => ({
    name: "admin",
    content: { ...content, paths: Object.fromEntries(entries) },
    baseUrl: adminUrl,
  });
  const all = Object.entries(paths);
  return [
    part(all.filter((_, index) => index % 2 === 0)),
    part(all.filter((_, index) => index % 2 === 1)),
    part([[REVOKE, revoke]]),
  ];
}

/** Returns the document of every model and pipeline of the server. */
export async function modelDocuments(
  { url, adminUrl = "", adminKey }: Target,
  get: Request,
): Promise<Document[]> {
  const headers = { authorization: `Key ${adminKey}` };
  const { models } = (await get(`${adminUrl}/v1/models?limit=100`, { headers })).json() as {
    models: { endpoint_id: string }[];
  };
  return Promise.all(
    models.map(async ({ endpoint_id: endpoint }) => ({
      name: endpoint,
      content: (
        await get(`${url}/api/openapi/queue/openapi.json?endpoint_id=${encodeURIComponent(endpoint)}`)
      ).json() as OpenapiDocument,
      baseUrl: `${url}/queue`,
    })),
  );
}

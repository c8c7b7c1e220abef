import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { fileUrl } from "../../core/files/file.ts";
import { createSignatures } from "../../core/files/signatures.ts";
import { LIMITS } from "../../core/limits.ts";
import { readSign } from "../../fal/index.ts";
import { callOf } from "../auth/call.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { filesAddressOf } from "../http/address.ts";
import { readJsonBody } from "../http/read-body.ts";
import { REQUEST_ID_HEADER, requestIdOf } from "../http/request-id.ts";
import { createFileCaller } from "./caller.ts";
import type { FindReadable } from "./readable.ts";

/**
 * `POST {file}/sign` `{duration, scope: ["read"]}`: answers, as text, an address that reads the file on the
 * caller's behalf for `duration` seconds. 401 without a key; 403 or 404 when the caller could not read the
 * file either.
 */
export function createSign(
  api: Pick<ApiDependencies, "keyRing" | "tokens" | "clock" | "uploadSecret" | "publicUrl" | "filesUrl">,
  findReadable: FindReadable,
) {
  const callerOf = createFileCaller(api);
  const signatures = createSignatures({ secret: api.uploadSecret, clock: api.clock });
  return async (c: Context, { fileId, name }: { fileId: string; name: string }): Promise<Response> => {
    const caller = await callerOf(c.req.header("authorization"), callOf(c));
    const seconds = readSign(await readJsonBody(c, LIMITS.uploadFormBytesMax));
    const file = await findReadable(fileId, async () => [caller.ownerId]);
    if (file.name !== name) throw new TemperaError("file_unknown");
    const query = signatures.identityQuery(fileId, caller.ownerId, api.clock.nowMs() + seconds * 1000);
    return c.text(fileUrl(filesAddressOf(c, api), file) + query, 200, {
      [REQUEST_ID_HEADER]: requestIdOf(c),
    });
  };
}

/**
 * Answers the same for an artifact without a record. Everybody can read it for ever, so the result is its own
 * address. 401 without a key, 404 when it is missing.
 */
export function createSignArtifact(
  api: Pick<ApiDependencies, "keyRing" | "tokens" | "objects" | "publicUrl" | "filesUrl">,
) {
  const callerOf = createFileCaller(api);
  return async (c: Context, path: string): Promise<Response> => {
    await callerOf(c.req.header("authorization"), callOf(c));
    readSign(await readJsonBody(c, LIMITS.uploadFormBytesMax));
    if (!(await api.objects.head(`artifacts/${path}`))) throw new TemperaError("file_unknown");
    return c.text(`${filesAddressOf(c, api)}/${path}`, 200, {
      [REQUEST_ID_HEADER]: requestIdOf(c),
    });
  };
}

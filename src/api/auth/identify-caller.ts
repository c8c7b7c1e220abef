import type { Context } from "hono";
import { isTemperaError } from "../../core/errors/tempera-error.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { createFileCaller } from "../files/caller.ts";
import { readingCallOf } from "./call.ts";
import type { Caller } from "./key-ring.ts";

/**
 * Finds on whose behalf a call is made, by a credential of any kind, to count it. `undefined` without one,
 * with a wrong one, and while that cannot be known: the call's route decides what it accepts, and refuses.
 * Calls that the key does not permit are counted too.
 */
export function createIdentifyCaller(api: Pick<ApiDependencies, "keyRing" | "tokens">) {
  const fileCaller = createFileCaller(api);
  return async (c: Context): Promise<Caller | undefined> => {
    const authorization = c.req.header("authorization");
    const token = c.req.query("fal_jwt_token");
    try {
      if (authorization !== undefined) return await fileCaller(authorization, readingCallOf(c));
      return token === undefined
        ? undefined
        : (await api.tokens.verify(token, "app", readingCallOf(c))).caller;
    } catch (error) {
      if (!isTemperaError(error)) throw error;
      return undefined;
    }
  };
}

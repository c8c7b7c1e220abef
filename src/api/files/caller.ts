import type { Call } from "../auth/call.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { ApiDependencies } from "../dependencies.ts";

const JWT = /^bearer\s+([\w-]+\.[\w-]+\.[\w-]+)$/i;

/**
 * Authenticates callers of the files tree, by a CDN token (`Bearer`, contract §6.2) or by a key. Rejects as
 * `KeyRing.authenticate` and `Tokens.verify` do.
 */
export function createFileCaller({ keyRing, tokens }: Pick<ApiDependencies, "keyRing" | "tokens">) {
  return async (authorization: string | undefined, call: Call): Promise<Caller> => {
    const token = JWT.exec(authorization?.trim() ?? "")?.[1];
    return token === undefined
      ? keyRing.authenticate(authorization, call)
      : (await tokens.verify(token, "cdn", call)).caller;
  };
}

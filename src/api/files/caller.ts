import type { ApiDependencies } from "../dependencies.ts";
import type { Caller } from "../auth/key-ring.ts";

const JWT = /^bearer\s+([\w-]+\.[\w-]+\.[\w-]+)$/i;

/**
 * Who an `Authorization` header on the files tree speaks for: a CDN token (`Bearer`, contract §6.2) or a key.
 * Rejects like `KeyRing.authenticate` and `Tokens.verify`.
 */
export const createFileCaller =
  ({ keyRing, tokens }: Pick<ApiDependencies, "keyRing" | "tokens">) =>
  async (authorization: string | undefined): Promise<Caller> => {
    const token = JWT.exec(authorization?.trim() ?? "")?.[1];
    return token === undefined
      ? keyRing.authenticate(authorization)
      : (await tokens.verify(token, "cdn")).caller;
  };

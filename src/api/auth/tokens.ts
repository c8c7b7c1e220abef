import { jwtVerify, SignJWT } from "jose";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { Caller, KeyRing } from "./key-ring.ts";

/** `app`: calls the apps it names (contract §5.2). `cdn`: uploads and reads files (contract §6.2). */
export type TokenUse = "app" | "cdn";

export interface Tokens {
  /**
   * A JWT (HS256) that speaks for a caller for `seconds`; it dies earlier when the caller's key is revoked.
   */
  issue(
    caller: Caller,
    use: TokenUse,
    options: { seconds: number; allowedApps?: string[] },
  ): Promise<{ token: string; expiresAtMs: number }>;
  /**
   * Who a token speaks for, and what it may call. Rejects with `token_invalid` for one that is forged,
   * expired, made for another use, or whose key was revoked; `store_unavailable` when that cannot be known.
   */
  verify(token: string, use: TokenUse): Promise<{ caller: Caller; allowedApps: string[] }>;
}

const ISSUER = "tempera";

/** Tokens signed with the installation's secret, so that every gateway takes what another has issued. */
export const createTokens = ({
  secret,
  keyRing,
  clock,
}: {
  secret: Uint8Array;
  keyRing: KeyRing;
  clock: Clock;
}): Tokens => ({
  async issue({ keyId, ownerId }, use, { seconds, allowedApps }) {
    const now = Math.floor(clock.nowMs() / 1000);
    const token = await new SignJWT({
      use,
      owner: ownerId,
      ...(allowedApps && { allowed_apps: allowedApps }),
    })
      .setProtectedHeader({ alg: "HS256", typ: "JWT" })
      .setIssuer(ISSUER)
      .setSubject(keyId)
      .setIssuedAt(now)
      .setExpirationTime(now + seconds)
      .sign(secret);
    return { token, expiresAtMs: (now + seconds) * 1000 };
  },

  async verify(token, use) {
    const checked = await jwtVerify(token, secret, {
      algorithms: ["HS256"],
      issuer: ISSUER,
      currentDate: new Date(clock.nowMs()),
      requiredClaims: ["exp", "sub", "use", "owner"],
    }).catch((error: Error) => {
      throw new TemperaError("token_invalid", undefined, { cause: error });
    });
    const { payload } = checked;
    if (payload.use !== use) throw new TemperaError("token_invalid");
    const caller = await keyRing.recall(payload.sub ?? "");
    if (!caller || caller.ownerId !== payload.owner) throw new TemperaError("token_invalid");
    return {
      caller,
      allowedApps: Array.isArray(payload.allowed_apps) ? payload.allowed_apps.map(String) : [],
    };
  },
});

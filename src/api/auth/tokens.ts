import { jwtVerify, SignJWT } from "jose";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { AuthFailures } from "./auth-failure-limiter.ts";
import type { Call } from "./call.ts";
import type { Caller, KeyRing } from "./key-ring.ts";

/**
 * An `app` token permits calls to the apps that it names (contract §5.2), a `cdn` token files (contract
 * §6.2).
 */
export type TokenUse = "app" | "cdn";

export interface Tokens {
  /**
   * Issues a JWT (HS256) that stands for a caller for `seconds`, or until the caller's key is revoked.
   */
  issue(
    caller: Caller,
    use: TokenUse,
    options: { seconds: number; allowedApps?: string[] },
  ): Promise<{ token: string; expiresAtMs: number }>;
  /**
   * Finds the caller of a token, and the apps that it may call. Rejects with `token_invalid` for a token that
   * is forged, expired, made for another use, or whose key was revoked, and with `store_unavailable` when
   * that cannot be known. A token has the permissions of its key, and is refused as the key is.
   */
  verify(token: string, use: TokenUse, call: Call): Promise<{ caller: Caller; allowedApps: string[] }>;
}

const ISSUER = "tempera";

/**
 * Issues and verifies tokens with the installation's secret, so that gateways accept each other's.
 *
 * @param authFailures is told of the right tokens
 */
export function createTokens({
  secret,
  keyRing,
  clock,
  authFailures,
}: {
  secret: Uint8Array;
  keyRing: KeyRing;
  clock: Clock;
  authFailures?: Pick<AuthFailures, "accept">;
}): Tokens {
  return {
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

    async verify(token, use, call) {
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
      const caller = await keyRing.recall(payload.sub ?? "", call);
      if (!caller || caller.ownerId !== payload.owner) throw new TemperaError("token_invalid");
      authFailures?.accept(token);
      return {
        caller,
        allowedApps: Array.isArray(payload.allowed_apps) ? payload.allowed_apps.map(String) : [],
      };
    },
  };
}

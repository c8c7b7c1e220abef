import { appLength, pathSegments } from "../../core/models/endpoint.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { Caller } from "./key-ring.ts";

/**
 * What fal's clients put behind an endpoint when they ask for a token, and callers behind the endpoint they
 * mean.
 */
const SUFFIXES = new Set(["realtime", "stream"]);

/**
 * The endpoint behind which they stand. An app may be called `stream` itself: only what comes after the app
 * is one of them.
 */
const named = (path: string): string[] => {
  const segments = pathSegments(path);
  while (segments.length > appLength(segments) && SUFFIXES.has(segments.at(-1) ?? "")) segments.pop();
  return segments;
};

/**
 * Whether a token that names `allowed` opens `path`. fal's clients name the alias alone, people the app or
 * the full id (contract §5.2): `lcm`, `fal-ai/lcm` and `fal-ai/lcm/realtime` all open `fal-ai/lcm/realtime`.
 */
export function tokenAllows(allowed: string, path: string): boolean {
  const [wanted, segments] = [named(allowed), named(path)];
  if (wanted.length === 0) return false;
  if (wanted.length === 1) return wanted[0] === segments[appLength(segments) - 1];
  return wanted.every((segment, i) => segment === segments[i]);
}

/**
 * Who a `fal_jwt_token` speaks for on an endpoint (the path below `/run` as it was sent will do).
 *
 * Rejects with `token_invalid` (forged, expired, key revoked), `token_forbidden` (for another app),
 * `store_unavailable`.
 */
export async function callerOfToken(
  api: Pick<ApiDependencies, "tokens">,
  jwt: string,
  endpoint: string,
): Promise<Caller> {
  const { caller, allowedApps } = await api.tokens.verify(jwt, "app");
  if (!allowedApps.some((allowed) => tokenAllows(allowed, endpoint)))
    throw new TemperaError("token_forbidden");
  return caller;
}

import { TemperaError } from "../../core/errors/tempera-error.ts";
import { appLength, pathSegments } from "../../core/models/endpoint.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { Call } from "./call.ts";
import type { Caller } from "./key-ring.ts";

/** Segments that fal's clients and their callers may append to the endpoint that they mean. */
const SUFFIXES = new Set(["realtime", "stream"]);

/**
 * Removes these suffixes from a path and returns its segments. An app may be named `stream` itself, so only a
 * segment after the app is a suffix.
 */
function endpointSegments(path: string): string[] {
  const segments = pathSegments(path);
  while (segments.length > appLength(segments) && SUFFIXES.has(segments.at(-1) ?? "")) segments.pop();
  return segments;
}

/**
 * Tells whether a token that names `allowed` permits calls to `path`. fal's clients name the alias alone,
 * people the app or the full id (contract §5.2): `lcm`, `fal-ai/lcm` and `fal-ai/lcm/realtime` all permit
 * `fal-ai/lcm/realtime`.
 */
export function tokenAllows(allowed: string, path: string): boolean {
  const [wanted, segments] = [endpointSegments(allowed), endpointSegments(path)];
  if (wanted.length === 0) return false;
  if (wanted.length === 1) return wanted[0] === segments[appLength(segments) - 1];
  return wanted.every((segment, i) => segment === segments[i]);
}

/**
 * Finds the caller of a `fal_jwt_token`, for an endpoint or for the raw path below `/run`.
 *
 * Rejects with `token_invalid` (forged, expired, key revoked), `token_forbidden` (for another app), as the
 * token's key does for a call that it does not permit, and with `store_unavailable`.
 */
export async function callerOfToken(
  api: Pick<ApiDependencies, "tokens">,
  jwt: string,
  { endpoint, call }: { endpoint: string; call: Call },
): Promise<Caller> {
  const { caller, allowedApps } = await api.tokens.verify(jwt, "app", call);
  if (!allowedApps.some((allowed) => tokenAllows(allowed, endpoint)))
    throw new TemperaError("token_forbidden");
  return caller;
}

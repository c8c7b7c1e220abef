/** The body of a request for an app token (contract §5.2). */
import { type InputFault, TemperaError } from "../core/errors/tempera-error.ts";
import { isObject, type Json } from "../core/json/json.ts";
import { LIMITS } from "../core/limits.ts";

export interface TokenRequest {
  allowedApps: string[];
  seconds: number;
}

/**
 * Reads `{allowed_apps, token_expiration}`. `/tokens/realtime` calls the second field `duration`. Throws
 * `input_invalid` with every fault.
 */
export function readTokenRequest(body: Json): TokenRequest {
  const faults: InputFault[] = [];
  const fields = isObject(body) ? body : {};
  const { allowed_apps: apps, duration, token_expiration: expiration = duration } = fields;
  const allowedApps =
    Array.isArray(apps) &&
    apps.every((app): app is string => typeof app === "string" && app !== "" && app.length <= 300)
      ? apps
      : [];
  if (allowedApps.length === 0 || allowedApps.length > LIMITS.tokenAppsMax) {
    const msg =
      `Input should be a list of 1 to ${LIMITS.tokenAppsMax} names of applications, ` +
      'such as ["fal-ai/lcm"]';
    faults.push({ loc: ["body", "allowed_apps"], msg, type: "list_type" });
  }
  const seconds = expiration ?? LIMITS.tokenSeconds;
  if (
    typeof seconds !== "number" ||
    !Number.isInteger(seconds) ||
    seconds < 1 ||
    seconds > LIMITS.tokenSecondsMax
  ) {
    const field = fields.token_expiration === undefined ? "duration" : "token_expiration";
    const msg = `Input should be an integer of seconds from 1 to ${LIMITS.tokenSecondsMax}`;
    faults.push({ loc: ["body", field], msg, type: "int_type" });
  }
  if (faults.length > 0) throw new TemperaError("input_invalid", undefined, { faults });
  return { allowedApps, seconds: seconds as number };
}

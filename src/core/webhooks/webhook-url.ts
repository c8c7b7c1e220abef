/**
 * The check of a webhook's URL. It is separate from `webhook.ts`, because workflow code imports that, and
 * every import is evaluated there for each job.
 */

import { TemperaError } from "../errors/tempera-error.ts";
import { LIMITS } from "../limits.ts";
import { type AllowedPrivate, mayReach, parseAddress } from "../operations/address-policy.ts";

/**
 * Checks `fal_webhook` of a submit: an http(s) URL without credentials, of at most
 * `LIMITS.webhookUrlBytesMax` bytes, and not an IP address that may not be reached. Names are resolved only
 * at delivery.
 *
 * @throws TemperaError `webhook_invalid`
 */
export function checkWebhookUrl(text: string, allowed: AllowedPrivate): string {
  const refuse = (why: string): never => {
    throw new TemperaError("webhook_invalid", `The webhook address ${why}`);
  };
  // Bytes, not characters; no character is longer than three bytes per UTF-16 unit.
  if (
    text.length > LIMITS.webhookUrlBytesMax ||
    new TextEncoder().encode(text).length > LIMITS.webhookUrlBytesMax
  )
    return refuse(`is longer than ${LIMITS.webhookUrlBytesMax} bytes; give a shorter one.`);
  if (!URL.canParse(text)) return refuse("is not a URL; give one like https://example.com/hook.");
  const url = new URL(text);
  if (url.protocol !== "https:" && url.protocol !== "http:")
    return refuse(`begins with ${url.protocol}; give an http or https URL.`);
  if (url.username !== "" || url.password !== "")
    return refuse("has a user name or password in it; leave them out, deliveries are signed.");
  if (parseAddress(url.hostname) && !mayReach(url.hostname, allowed))
    return refuse(
      `names ${url.hostname}, which is not public; the operator can allow it with ` +
        "TEMPERA_ALLOW_PRIVATE_ADDRESSES.",
    );
  url.hash = "";
  return url.href;
}

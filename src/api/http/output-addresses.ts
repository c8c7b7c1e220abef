import type { Context } from "hono";
import { mapTexts } from "../../core/files/private-address.ts";
import type { Json } from "../../core/json/json.ts";
import { TREES } from "../../fal/index.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { filesAddressOf } from "./address.ts";

export type OutputAddressDependencies = Pick<
  ApiDependencies,
  "publicUrl" | "filesUrl" | "outputUrls" | "signAddress"
>;

/**
 * Returns an output, or an input, of `ownerId` with the addresses of this platform's files as its caller
 * reaches them: private ones signed, and all below the address that the caller used. GPU workers write them
 * without knowing who will read, and when: the caller may use HTTPS, another name of the gateway, or one of
 * fal's host names.
 */
export function followCaller<T extends Json>(
  c: Context,
  { outputUrls = [], signAddress, ...addresses }: OutputAddressDependencies,
  output: T,
  ownerId: string,
): T {
  if (outputUrls.length === 0) return output;
  const reached = `${filesAddressOf(c, addresses)}/`;
  const roots = outputUrls.map((url) => `${url}${TREES.files.prefix}/`);
  return mapTexts(output, (text) => {
    const root = roots.find((each) => text.startsWith(each));
    return root === undefined ? text : reached + signAddress(text, ownerId).slice(root.length);
  }) as T;
}

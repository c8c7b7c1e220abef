import type { Context } from "hono";
import { mapTexts } from "../../core/files/private-address.ts";
import { parseJson, writeJson } from "../../core/json/exact-json.ts";
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
  api: OutputAddressDependencies,
  output: T,
  ownerId: string,
): T {
  if (rootsOf(api).length === 0) return output;
  return mapTexts(output, followText(c, api, ownerId)) as T;
}

/**
 * Does the same with an output that is JSON as `writeJson` writes it, in pieces: without parsing it, which
 * would keep the event loop for a tenth of a second for the largest. Only its addresses are copied.
 */
export function followCallerInJson(
  c: Context,
  api: OutputAddressDependencies,
  json: Buffer,
  ownerId: string,
): Buffer[] {
  const follow = followText(c, api, ownerId);
  const pieces: Buffer[] = [];
  let from = 0;
  for (const start of startsOf(json, rootsOf(api))) {
    const end = closingQuote(json, start + 1) + 1;
    if (json[end] === COLON) continue; // the name of a field
    const text = parseJson(json.toString("utf8", start, end)) as string;
    const followed = follow(text);
    if (followed === text) continue;
    pieces.push(json.subarray(from, start), Buffer.from(writeJson(followed)));
    from = end;
  }
  return [...pieces, json.subarray(from)];
}

const [QUOTE, COLON, BACKSLASH] = [0x22, 0x3a, 0x5c];

/** Finds the texts of JSON that begin with one of the roots, by rising place of their opening quotes. */
function startsOf(json: Buffer, roots: readonly string[]): number[] {
  const found = new Set<number>();
  for (const root of roots) {
    const opening = Buffer.from(writeJson(root)).subarray(0, -1);
    for (let at = json.indexOf(opening); at >= 0; at = json.indexOf(opening, at + opening.length))
      // One that is escaped is a part of another text. No text ends where an address begins.
      if (!isEscaped(json, at)) found.add(at);
  }
  return [...found].sort((a, b) => a - b);
}

function closingQuote(json: Buffer, from: number): number {
  let at = json.indexOf(QUOTE, from);
  while (isEscaped(json, at)) at = json.indexOf(QUOTE, at + 1);
  return at;
}

function isEscaped(json: Buffer, at: number): boolean {
  let before = at - 1;
  while (json[before] === BACKSLASH) before -= 1;
  return (at - 1 - before) % 2 === 1;
}

const rootsOf = ({ outputUrls = [] }: Pick<OutputAddressDependencies, "outputUrls">): string[] =>
  outputUrls.map((url) => `${url}${TREES.files.prefix}/`);

/** Makes the function that gives a text as the caller reaches it. */
function followText(
  c: Context,
  { signAddress, ...api }: OutputAddressDependencies,
  ownerId: string,
): (text: string) => string {
  const reached = `${filesAddressOf(c, api)}/`;
  const roots = rootsOf(api);
  return (text) => {
    const root = roots.find((each) => text.startsWith(each));
    return root === undefined ? text : reached + signAddress(text, ownerId).slice(root.length);
  };
}

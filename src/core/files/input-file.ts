/**
 * An input file is what a URL of a request's input names, fetched for the engine before it runs. In the input
 * that the engine is given, the URL is replaced by `attachment:<index>`.
 */
import type { Json, JsonObject } from "../json/json.ts";

export interface InputFile {
  /** Where it lies while the run lasts; read-only, absolute. */
  path: string;
  contentType: string;
  bytes: number;
  /** hex */
  sha256: string;
}

/** A URL of the input, and where it stands. */
export interface InputUrl {
  url: string;
  /** The way to it, without `body`. */
  loc: (string | number)[];
}

/**
 * What stands in fields called `…_url` and `…_urls`, at any depth, in the order it stands there. All of it,
 * whatever it begins with: what is not fetched must not reach an engine, which might read
 * `file:///etc/passwd`.
 */
export function inputUrls(input: JsonObject): InputUrl[] {
  const found: InputUrl[] = [];
  const take = (value: Json, loc: (string | number)[]): void => {
    if (typeof value !== "string") walk(value, loc);
    else if (value !== "") found.push({ url: value, loc });
  };
  const walk = (value: Json, loc: (string | number)[]): void => {
    if (typeof value !== "object" || value === null) return;
    for (const [name, item] of Array.isArray(value) ? value.entries() : Object.entries(value)) {
      const here = [...loc, name];
      if (typeof name === "string" && name.endsWith("_url")) take(item, here);
      else if (typeof name === "string" && name.endsWith("_urls") && Array.isArray(item)) {
        for (const [index, url] of item.entries()) take(url, [...here, index]);
      } else walk(item, here);
    }
  };
  walk(input, []);
  return found;
}

export const attachment = (index: number): string => `attachment:${index}`;

/** The file that a value of an engine's input stands for, if it stands for one. */
export function attachedFile(value: Json | undefined, files: readonly InputFile[]): InputFile | undefined {
  const [, index] = typeof value === "string" ? (/^attachment:(\d{1,4})$/.exec(value) ?? []) : [];
  return index === undefined ? undefined : files[Number(index)];
}

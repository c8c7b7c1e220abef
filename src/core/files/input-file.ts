/**
 * An input file is a file that a URL in a request's input names, fetched for the engine before the run. In
 * the input that the engine gets, the URL is replaced by `attachment:<index>`.
 */
import { isObject, type Json, type JsonObject } from "../json/json.ts";

export interface InputFile {
  /** Absolute path of the fetched file during the run; read-only. */
  path: string;
  contentType: string;
  bytes: number;
  /** hex */
  sha256: string;
}

/** A URL of the input, and its location. */
export interface InputUrl {
  url: string;
  /** Path to it within the input, without `body`. */
  loc: (string | number)[];
  /**
   * It names LoRA weights: `url` may be a repository of a hub then, `<owner>/<name>`, and this the file in
   * it, if the input names one.
   */
  lora?: { weightName?: string };
}

/**
 * Strips control characters and blanks from both ends of an address, as the URL standard does: people paste
 * addresses with a line end.
 */
export function stripUrl(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && text.charCodeAt(start) <= 0x20) start++;
  while (end > start && text.charCodeAt(end - 1) <= 0x20) end--;
  return text.slice(start, end);
}

/**
 * Lists the values of fields named `…_url` and `…_urls`, and each `path` in a list `loras`, at any depth, in
 * their order and stripped. It lists them whatever their scheme: a URL that is not fetched must not reach an
 * engine, which might read `file:///etc/passwd`.
 */
export function inputUrls(input: JsonObject): InputUrl[] {
  const found: InputUrl[] = [];
  const add = (value: Json, loc: (string | number)[]): void => {
    if (typeof value !== "string") walk(value, loc);
    else {
      const url = stripUrl(value);
      if (url !== "") found.push({ url, loc });
    }
  };
  const walk = (value: Json, loc: (string | number)[]): void => {
    if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return;
    for (const [name, item] of Array.isArray(value) ? value.entries() : Object.entries(value)) {
      const here = [...loc, name];
      if (typeof name === "string" && name.endsWith("_url")) add(item, here);
      else if (typeof name === "string" && name.endsWith("_urls") && Array.isArray(item)) {
        for (const [index, url] of item.entries()) add(url, [...here, index]);
      } else {
        if (name === "loras" && Array.isArray(item)) addLoras(item, here);
        walk(item, here);
      }
    }
  };
  const addLoras = (loras: Json[], loc: (string | number)[]): void => {
    for (const [index, lora] of loras.entries()) {
      if (!isObject(lora) || typeof lora.path !== "string") continue;
      const { weight_name: weightName } = lora;
      const url = stripUrl(lora.path);
      found.push({
        url,
        loc: [...loc, index, "path"],
        lora: typeof weightName === "string" ? { weightName } : {},
      });
    }
  };
  walk(input, []);
  return found;
}

export function attachment(index: number): string {
  return `attachment:${index}`;
}

/** Returns the file that a value of an engine's input refers to, if it refers to one. */
export function attachedFile(value: Json | undefined, files: readonly InputFile[]): InputFile | undefined {
  const [, index] = typeof value === "string" ? (/^attachment:(\d{1,4})$/.exec(value) ?? []) : [];
  return index === undefined ? undefined : files[Number(index)];
}

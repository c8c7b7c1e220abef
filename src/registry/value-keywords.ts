/**
 * JSON Schema's keywords for texts and unique items, in place of the validator's own: those count every
 * character of a text that is far too long, match it as well, and compare each item with each other one.
 */
import type { Ajv2020, ErrorObject, FuncKeywordDefinition } from "ajv/dist/2020.js";
import { canonicalJson } from "../core/json/input-hash.ts";
import type { Json, JsonObject } from "../core/json/json.ts";
import { publishedPattern } from "./linear-pattern.ts";

type Check<T> = (value: T) => Pick<ErrorObject, "params" | "message"> | undefined;

/** The types of the values that a keyword concerns, and of what it has in a schema. */
interface KeywordTypes {
  type: "string" | "array";
  schemaType: "number" | "string" | "boolean";
}

/** Replaces the keywords of a validator. Their errors have the same names and parameters. */
export function addValueKeywords(ajv: Ajv2020): void {
  const replace = <Wanted, T>(
    keyword: string,
    { checkOf, ...types }: KeywordTypes & { checkOf: (wanted: Wanted, schema: JsonObject) => Check<T> },
  ): void => {
    ajv.removeKeyword(keyword);
    const compile: FuncKeywordDefinition["compile"] = (wanted, schema) => {
      const check = checkOf(wanted, schema as JsonObject);
      const validate: ReturnType<NonNullable<FuncKeywordDefinition["compile"]>> = (value) => {
        const error = check(value as T);
        if (error) validate.errors = [{ keyword, ...error }];
        return error === undefined;
      };
      return validate;
    };
    ajv.addKeyword({ keyword, ...types, compile });
  };
  replace<number, string>("maxLength", {
    type: "string",
    schemaType: "number",
    checkOf: (limit) => (text) => (isLonger(text, limit) ? { params: { limit } } : undefined),
  });
  replace<number, string>("minLength", {
    type: "string",
    schemaType: "number",
    checkOf: (limit) => (text) => (isLonger(text, limit - 1) ? undefined : { params: { limit } }),
  });
  replace<string, string>("pattern", {
    type: "string",
    schemaType: "string",
    checkOf: (pattern, { maxLength }) => {
      const matcher = publishedPattern(pattern, "u");
      const isRefused = (text: string) => typeof maxLength === "number" && text.length > 2 * maxLength;
      // `maxLength` names the fault of such a text.
      return (text) => (isRefused(text) || matcher.test(text) ? undefined : { params: { pattern } });
    },
  });
  replace<boolean, Json[]>("uniqueItems", {
    type: "array",
    schemaType: "boolean",
    checkOf: (isWanted) => (items) => (isWanted ? repeatedItem(items) : undefined),
  });
}

/** Tells whether a text has more code points than `limit`. Each of them takes one or two UTF-16 units. */
function isLonger(text: string, limit: number): boolean {
  if (text.length <= limit) return false;
  if (text.length > 2 * limit) return true;
  let count = 0;
  for (let at = 0; at < text.length && count <= limit; at++) {
    if ((text.codePointAt(at) as number) > 0xffff) at++;
    count++;
  }
  return count > limit;
}

function repeatedItem(items: Json[]): ReturnType<Check<Json[]>> {
  const positions = new Map<string, number>();
  for (const [at, item] of items.entries()) {
    const text = canonicalJson(item);
    const before = positions.get(text);
    if (before !== undefined)
      return {
        params: { i: at, j: before },
        message: `must NOT have duplicate items (items ## ${before} and ${at} are identical)`,
      };
    positions.set(text, at);
  }
  return undefined;
}

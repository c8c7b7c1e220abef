/**
 * The engine for `pattern`s of models (docs/decisions/0036). It takes time in proportion to the text, where
 * JavaScript's own may take longer than the universe lasts: `^(\w+\s?)*$` for fifty letters and a "!".
 */
import { RE2JS } from "re2js";
import { writeJson } from "../core/json/exact-json.ts";

/** A pattern as the validator uses it. */
interface Pattern {
  test(text: string): boolean;
}

/** Compiles patterns. `code` names the engine in the validator's generated code. */
interface PatternEngine {
  (pattern: string, flags: string): Pattern;
  code: string;
}

/** Compiles a pattern, or throws with the reason why it cannot run in linear time. */
export const linearPattern: PatternEngine = Object.assign(
  (pattern: string): Pattern => {
    try {
      return RE2JS.compile(RE2JS.translateRegExp(pattern));
    } catch (error) {
      throw new Error(
        `the regular expression ${writeJson(pattern.slice(0, 100))} cannot be used: ` +
          `${(error as Error).message.slice(0, 200)}; look-arounds and back-references are not supported`,
        { cause: error },
      );
    }
  },
  { code: "linearPattern" },
);

/**
 * The same for versions that are published: those of earlier releases may have patterns that `linearPattern`
 * refuses, which keep running as they did.
 */
export const publishedPattern: PatternEngine = Object.assign(
  (pattern: string, flags: string): Pattern => {
    try {
      return linearPattern(pattern, flags);
    } catch {
      return new RegExp(pattern, flags);
    }
  },
  { code: "publishedPattern" },
);

/**
 * YAML of bounded depth and size. The parser is recursive, and quadratic in the keys of a map and in aliases:
 * a small text can take seconds or end the process. So its tokens are counted before it is parsed.
 */
import { type Document, isScalar, Lexer, type LineCounter, parseDocument, visit } from "yaml";
import { LIMITS } from "../limits.ts";

/** The reason why a text is not read. It quotes nothing of the text. */
export interface YamlFault {
  line: number;
  code: string;
  /** A sentence that begins with a lower-case letter. The parser's own sentences may quote the text. */
  message: string;
}

/** The lexer's mark before the text of a scalar. */
const SCALAR = "\u001f";
/** Tokens that open a level within a line. */
const INDICATORS = new Set(["-", "?", ":"]);

/**
 * Parses a document. Keys that occur twice are a fault, as they are to the parser.
 *
 * @param lineCounter counts the lines of the text for the caller
 */
export function parseBoundedYaml(
  text: string,
  options: { intAsBigInt?: boolean; lineCounter?: LineCounter } = {},
): { document: Document.Parsed } | { fault: YamlFault } {
  const excess = yamlExcess(text);
  if (excess) return { fault: excess };
  // The parser compares each key of a map with all others.
  const document = parseDocument(text, { ...options, uniqueKeys: false });
  const [error] = document.errors;
  if (error) {
    const [message = ""] = error.message.split("\n");
    return { fault: { line: error.linePos?.[0].line ?? 1, code: error.code, message } };
  }
  const fault = repeatedKey(document, text);
  return fault ? { fault } : { document };
}

/**
 * Finds the first bound that a text exceeds (the depth, the number of values or that of aliases), or the
 * bracket that closes nothing.
 */
export function yamlExcess(text: string): YamlFault | undefined {
  const counted: Counted = { flow: [], indicators: 0, indent: 0, values: 0, aliases: 0, unopened: false };
  let line = 1;
  let before = "\n";
  for (const token of new Lexer().lex(text)) {
    count(counted, token, before);
    const message = excessOf(counted);
    if (message) return { line, code: "TOO_LARGE", message };
    // The parser is quadratic in such brackets; beyond that, they would hide levels that are open.
    if (counted.unopened)
      return { line, code: "UNEXPECTED_TOKEN", message: "closes a list or map that is not open" };
    line += token.split("\n").length - 1;
    before = token;
  }
  return undefined;
}

/** The levels that are open, by their kind, and the values and aliases so far. */
interface Counted {
  /** The brackets that close the lists and maps within brackets. */
  flow: string[];
  /** Levels that the line opens. */
  indicators: number;
  /** Spaces before the line. */
  indent: number;
  values: number;
  aliases: number;
  /** A bracket closed what was not open. */
  unopened: boolean;
}

function count(counted: Counted, token: string, before: string): void {
  if (before === SCALAR) return; // text, whatever it begins with
  const first = token[0] ?? "";
  if (first === "\n" || first === "\r") counted.indicators = 0;
  else if (first === " " && /[\r\n]$/.test(before)) counted.indent = token.length;
  else if (first === "[" || first === "{") counted.flow.push(first === "[" ? "]" : "}");
  else if (first === "]" || first === "}") counted.unopened = counted.flow.pop() !== first;
  else if (first === "*") counted.aliases++;
  else if (INDICATORS.has(token)) counted.indicators++;
  if (first === "[" || first === "{" || first === "," || INDICATORS.has(token)) counted.values++;
}

function excessOf({ flow, indicators, indent, values, aliases }: Counted): string | undefined {
  if (Math.max(flow.length, indicators, indent / 2) > LIMITS.yamlDepthMax)
    return `is nested deeper than ${LIMITS.yamlDepthMax} levels`;
  if (values > LIMITS.yamlValuesMax) return `has more than ${LIMITS.yamlValuesMax} values`;
  if (aliases > LIMITS.yamlAliasesMax) return `has more than ${LIMITS.yamlAliasesMax} aliases`;
  return undefined;
}

function repeatedKey(document: Document.Parsed, text: string): YamlFault | undefined {
  let fault: YamlFault | undefined;
  visit(document, {
    Map(_, map) {
      const seen = new Set<unknown>();
      for (const { key } of map.items) {
        if (!isScalar(key)) continue;
        if (seen.has(key.value)) {
          const line = text.slice(0, key.range?.[0] ?? 0).split("\n").length;
          fault = { line, code: "DUPLICATE_KEY", message: "Map keys must be unique" };
          return visit.BREAK;
        }
        seen.add(key.value);
      }
      return undefined;
    },
  });
  return fault;
}

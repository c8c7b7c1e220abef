/** The faults of a workflow definition, as lines for whoever wrote its file. */
import { JsonNumberFault, parseJson } from "../../../core/json/exact-json.ts";
import { isObject, type Json } from "../../../core/json/json.ts";

interface Fault {
  loc: (string | number)[];
  msg: string;
}

/**
 * Words a refusal of a definition, one fault a line, with paths as in the file; `undefined` when the reply
 * lists no faults.
 *
 * @param body the reply of the Platform API
 * @param isBare the file is a definition, and not `{name, title, contents}`
 */
export function definitionFaults(body: unknown, file: string, isBare: boolean): string | undefined {
  const error = isObject(body) ? body.error : undefined;
  const faults = isObject(error) ? (error.faults as unknown as Fault[] | undefined) : undefined;
  if (!faults || faults.length === 0) return undefined;
  const lines = faults.map(({ loc, msg }) => {
    const path = loc.slice(isBare && loc[1] === "contents" ? 2 : 1).join(".") || "the definition";
    return `  ${path}: ${msg.replace("Value error, ", "")}`;
  });
  return `${file} has ${faults.length === 1 ? "a fault" : `${faults.length} faults`}:\n${lines.join("\n")}`;
}

/** Parses the text of a file. Throws an error that names the line and the column of what is not JSON. */
export function parseJsonFile(text: string, file: string): Json {
  try {
    return parseJson(text) as Json;
  } catch (error) {
    const { message } = error as Error;
    if (error instanceof JsonNumberFault) throw new Error(`${file} cannot be read: ${message}.`);
    const at = Number(/position (\d+)/.exec(message)?.[1] ?? text.length);
    const before = text.slice(0, at).split("\n");
    const position = `line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}`;
    const reason = message.replace(/ (in JSON )?at position \d+.*$/s, "").replace(/ \(line .*$/s, "");
    throw new Error(`${file} cannot be read as JSON: ${position}: ${reason}.`);
  }
}

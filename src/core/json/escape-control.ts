import { writeJson } from "./exact-json.ts";

/** Control characters and those that turn the direction of a text: they forge lines, or steer a terminal. */
const CONTROL = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu;

/**
 * Writes the control characters of a text, newlines too, as JSON does: `\n`, `\u001b`. What others have named
 * or written so stays one line wherever a person reads it.
 */
export function escapeControl(text: string): string {
  return text.replaceAll(CONTROL, (character) => {
    const quoted = writeJson(character).slice(1, -1);
    return quoted === character ? `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}` : quoted;
  });
}

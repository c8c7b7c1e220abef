/**
 * Turns a prompt into the token ids of a text encoder: cut and padded to a fixed length here, since
 * @huggingface/tokenizers ignores both settings.
 */
import { Tokenizer } from "@huggingface/tokenizers";
import { parseJson } from "../../../../core/json/exact-json.ts";
import type { Remark } from "./loaded-model.ts";

export interface PromptTokens {
  /** int64 [length]: [BOS] words [EOS] [PAD]… */
  ids: BigInt64Array;
  /** int64 [length]: 1 for tokens, 0 for padding. */
  mask: BigInt64Array;
  /** Words that the model does not know, as they were written, each once. */
  unknown: string[];
  /** The number of tokens that did not fit. */
  cut: number;
}

export type PromptTokenizer = (prompt: string) => PromptTokens;

/**
 * Makes a tokenizer of fixed length.
 *
 * @param json   the text of a tokenizer.json whose special tokens are named [PAD], [UNK] and [EOS]
 * @param length tokens of a prompt, the special ones included
 */
export function createPromptTokenizer(json: string, length: number): PromptTokenizer {
  const tokenizer = new Tokenizer(parseJson(json), {});
  const idOf = (token: string): number => {
    const id = tokenizer.token_to_id(token);
    if (id === undefined) throw new Error(`tokenizer.json has no ${token} token.`);
    return id;
  };
  const [pad, unknownId, end] = [idOf("[PAD]"), idOf("[UNK]"), idOf("[EOS]")];

  return (prompt) => {
    const all: number[] = tokenizer.encode(prompt).ids;
    const used = all.length > length ? [...all.slice(0, length - 1), end] : all;
    const ids = new BigInt64Array(length).fill(BigInt(pad));
    const mask = new BigInt64Array(length);
    used.forEach((id: number, i: number) => {
      ids[i] = BigInt(id);
      mask[i] = 1n;
    });
    const unknown = used.includes(unknownId)
      ? words(prompt).filter((word) => tokenizer.encode(word).ids.includes(unknownId))
      : [];
    return { ids, mask, unknown: [...new Set(unknown)], cut: all.length - used.length };
  };
}

/** Tells the caller how the prompt was read: which of its words the model ignores. */
export function promptRemarks({ cut, unknown }: PromptTokens, tokensMax: number): Remark[] {
  const messages: string[] = [];
  if (cut > 0) {
    messages.push(
      `The prompt is longer than the ${tokensMax} tokens this model reads; the last ${cut} were left out.`,
    );
  }
  if (unknown.length > 0)
    messages.push(`This model does not know: ${unknown.map((word) => word.slice(0, 40)).join(", ")}.`);
  return messages.map((message) => ({ level: "WARN", message }));
}

/** Splits off at most fifty words, for a sentence in a log. */
function words(prompt: string): string[] {
  return (prompt.slice(0, 2000).match(/[^\s,;:.!?]+/g) ?? []).slice(0, 50);
}

/**
 * From a prompt to the token ids a text encoder takes: cut and padded to a fixed length here, since
 * @huggingface/tokenizers ignores both settings.
 */
import { Tokenizer } from "@huggingface/tokenizers";

export interface PromptTokens {
  /** int64 [length]: [BOS] words [EOS] [PAD]… */
  ids: BigInt64Array;
  /** int64 [length]: 1 for tokens, 0 for padding. */
  mask: BigInt64Array;
  /** Words the model does not know, as they were written, each once. */
  unknown: string[];
  /** How many tokens did not fit. */
  cut: number;
}

export type PromptTokenizer = (prompt: string) => PromptTokens;

/**
 * @param json   the text of a tokenizer.json that names its [PAD], [UNK] and [EOS] tokens so
 * @param length tokens of a prompt, the special ones included
 */
export function createPromptTokenizer(json: string, length: number): PromptTokenizer {
  const tokenizer = new Tokenizer(JSON.parse(json), {});
  const idOf = (token: string): number => {
    const id = tokenizer.token_to_id(token);
    if (id === undefined) throw new Error(`tokenizer.json has no ${token} token.`);
    return id;
  };
  const [pad, unknownId, end] = [idOf("[PAD]"), idOf("[UNK]"), idOf("[EOS]")];

  return (prompt) => {
    const all: number[] = tokenizer.encode(prompt).ids;
    const kept = all.length > length ? [...all.slice(0, length - 1), end] : all;
    const ids = new BigInt64Array(length).fill(BigInt(pad));
    const mask = new BigInt64Array(length);
    kept.forEach((id: number, i: number) => {
      ids[i] = BigInt(id);
      mask[i] = 1n;
    });
    const unknown = kept.includes(unknownId)
      ? words(prompt).filter((word) => tokenizer.encode(word).ids.includes(unknownId))
      : [];
    return { ids, mask, unknown: [...new Set(unknown)], cut: all.length - kept.length };
  };
}

export interface PromptRemark {
  level: "WARN";
  message: string;
}

/** What the caller should know about how the prompt was read. */
export function promptRemarks({ cut, unknown }: PromptTokens, tokensMax: number): PromptRemark[] {
  const said: PromptRemark[] = [];
  if (cut > 0) {
    said.push({
      level: "WARN",
      message: `The prompt is longer than the ${tokensMax} tokens this model reads; the last ${cut} were left out.`,
    });
  }
  if (unknown.length > 0) {
    said.push({
      level: "WARN",
      message: `This model does not know: ${unknown.map((word) => word.slice(0, 40)).join(", ")}.`,
    });
  }
  return said;
}

/** At most fifty words, for a sentence in a log. */
const words = (prompt: string): string[] => (prompt.slice(0, 2000).match(/[^\s,;:.!?]+/g) ?? []).slice(0, 50);

import { describe, expect, it } from "vitest";
import { createPromptTokenizer } from "./prompt-tokens.ts";

const special = (id: number, content: string) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
});

/** The shape of tokenizer.json that training writes: WordPiece without continuation pieces. */
const json = JSON.stringify({
  version: "1.0",
  added_tokens: [special(0, "[PAD]"), special(1, "[UNK]"), special(2, "[BOS]"), special(3, "[EOS]")],
  normalizer: { type: "Sequence", normalizers: [{ type: "NFKC" }, { type: "Lowercase" }] },
  pre_tokenizer: {
    type: "Split",
    pattern: { Regex: "[a-z0-9]+|[^a-z0-9\\s]" },
    behavior: "Removed",
    invert: true,
  },
  post_processor: {
    type: "TemplateProcessing",
    single: [
      { SpecialToken: { id: "[BOS]", type_id: 0 } },
      { Sequence: { id: "A", type_id: 0 } },
      { SpecialToken: { id: "[EOS]", type_id: 0 } },
    ],
    pair: [],
    special_tokens: {
      "[BOS]": { id: "[BOS]", ids: [2], tokens: ["[BOS]"] },
      "[EOS]": { id: "[EOS]", ids: [3], tokens: ["[EOS]"] },
    },
  },
  decoder: null,
  model: {
    type: "WordPiece",
    unk_token: "[UNK]",
    continuing_subword_prefix: "##",
    max_input_chars_per_word: 100,
    vocab: { "[PAD]": 0, "[UNK]": 1, "[BOS]": 2, "[EOS]": 3, a: 4, red: 5, circle: 6, ",": 7 },
  },
});

describe("createPromptTokenizer", () => {
  const tokenize = createPromptTokenizer(json, 8);

  it("pads to the length, with a mask", () => {
    const { ids, mask, unknown, cut } = tokenize("A RED, circle");
    expect([...ids]).toEqual([2n, 4n, 5n, 7n, 6n, 3n, 0n, 0n]);
    expect([...mask]).toEqual([1n, 1n, 1n, 1n, 1n, 1n, 0n, 0n]);
    expect([unknown, cut]).toEqual([[], 0]);
  });

  it("cuts a prompt that is too long and keeps the end token", () => {
    const { ids, cut } = tokenize("red red red red red red red red red");
    expect([...ids]).toEqual([2n, 5n, 5n, 5n, 5n, 5n, 5n, 3n]);
    expect(cut).toBe(3);
  });

  it("names the words it does not know, each once", () => {
    const { ids, unknown } = tokenize("a plaid circle, plaid");
    expect(ids[2]).toBe(1n);
    expect(unknown).toEqual(["plaid"]);
  });

  it.each([" ", "", "\t\n"])("reads %j as the empty prompt", (text) => {
    expect([...tokenize(text).ids]).toEqual([2n, 3n, 0n, 0n, 0n, 0n, 0n, 0n]);
  });

  it("accepts any script", () => {
    for (const text of ["красный круг", "赤い円", "🔴".repeat(2000), "x".repeat(8000)]) {
      const { ids } = tokenize(text);
      expect(ids).toHaveLength(8);
      expect(ids[0]).toBe(2n);
    }
  });
});

/** Encodes prompts to the rows that condition a transformer. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Remark } from "./loaded-model.ts";
import { createRowPass, type NetworkRow } from "./network-rows.ts";
import { openOnnxSession } from "./onnx-session.ts";
import { createPromptTokenizer, type PromptTokens, promptRemarks } from "./prompt-tokens.ts";

export interface PromptEncoder {
  tokenize(prompt: string): PromptTokens;
  /**
   * Gives `encoder_hidden_states` float32 [L, D] and `encoder_attention_mask` int64 [L] of each prompt, in
   * order. May block this thread.
   */
  encode(prompts: readonly PromptTokens[]): Promise<NetworkRow[]>;
  /** Tells the caller how the prompt was read. */
  remarks(prompt: PromptTokens): Remark[];
}

/**
 * Opens `tokenizer/` and `text_encoder/` of a model folder.
 *
 * @param tokensMax L: tokens of a prompt
 */
export async function openPromptEncoder(
  folder: string,
  { threads, tokensMax }: { threads: number; tokensMax: number },
): Promise<PromptEncoder> {
  const tokenize = createPromptTokenizer(
    await readFile(join(folder, "tokenizer", "tokenizer.json"), "utf8"),
    tokensMax,
  );
  const encode = createRowPass(
    await openOnnxSession(join(folder, "text_encoder", "model.onnx"), threads),
    threads,
  );
  return {
    tokenize,
    async encode(prompts) {
      const shape = [tokensMax];
      const rows = prompts.map(({ ids, mask }) => ({
        input_ids: { data: ids, shape },
        attention_mask: { data: mask, shape },
      }));
      const states = await encode(rows);
      return states.map((data, i) => ({
        encoder_hidden_states: { data, shape: [tokensMax, data.length / tokensMax] },
        encoder_attention_mask: { data: prompts[i]?.mask ?? new BigInt64Array(tokensMax), shape },
      }));
    },
    remarks: (prompt) => promptRemarks(prompt, tokensMax),
  };
}

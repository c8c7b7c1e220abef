/** From prompts to what a transformer is conditioned on, one row for each. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createRowPass, type NetworkRow } from "./network-rows.ts";
import { openOnnxSession } from "./onnx-session.ts";
import {
  createPromptTokenizer,
  type PromptRemark,
  type PromptTokens,
  promptRemarks,
} from "./prompt-tokens.ts";

export interface PromptStates {
  tokenize(prompt: string): PromptTokens;
  /** `encoder_hidden_states` and `encoder_attention_mask` of each prompt. May block this thread. */
  encode(prompts: readonly PromptTokens[]): Promise<NetworkRow[]>;
  /** What the caller should know about how the prompt was read. */
  remarks(prompt: PromptTokens): PromptRemark[];
}

/** Opens `tokenizer/` and `text_encoder/` of a model folder. */
export async function openPromptStates(
  folder: string,
  { threads, tokensMax }: { threads: number; tokensMax: number },
): Promise<PromptStates> {
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

/** The components that every diffusers-style model folder has, opened the same way for each model kind. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseSchedulerConfig, type SchedulerConfig } from "../sampling/flow-match-euler.ts";
import type { LoadProgress } from "./loaded-model.ts";
import { type OnnxSession, openOnnxSession } from "./onnx-session.ts";
import { openPromptEncoder, type PromptEncoder } from "./prompt-encoder.ts";

export interface ModelComponents {
  prompts: PromptEncoder;
  scheduler: SchedulerConfig;
  /** Opens the network `<name>/model.onnx` of the folder. */
  openNetwork(name: string): Promise<OnnxSession>;
}

/** Opens `tokenizer/`, `text_encoder/` and `scheduler/` of a model folder: a fifth of the loading. */
export async function openComponents(
  folder: string,
  { threads, textTokensMax }: { threads: number; textTokensMax: number },
  progress: LoadProgress,
): Promise<ModelComponents> {
  const prompts = await openPromptEncoder(folder, { threads, tokensMax: textTokensMax });
  const scheduler = parseSchedulerConfig(
    await readFile(join(folder, "scheduler", "scheduler_config.json"), "utf8"),
  );
  progress(0.2, "text encoder");
  return {
    prompts,
    scheduler,
    openNetwork: (name) => openOnnxSession(join(folder, name, "model.onnx"), threads),
  };
}

/** The clients of the suite by their names on the command line. */
import type { Client } from "./check.ts";
import { dart, kotlin, swift } from "./decoders.ts";
import { java } from "./jvm.ts";
import { aiSdk, huggingface, js } from "./node.ts";
import { falSdk, huggingfaceHub, python } from "./python.ts";

export const CLIENTS: Record<string, Client[]> = {
  js: [js],
  python: [python],
  "fal-sdk": [falSdk],
  java: [java],
  kotlin: [kotlin],
  swift: [swift],
  dart: [dart],
  "ai-sdk": [aiSdk],
  huggingface: [huggingface, huggingfaceHub],
};

/** The clients of the suite by their names on the command line. */
import type { Client } from "./check.ts";
import { java } from "./jvm.ts";
import { aiSdk, huggingface, js } from "./node.ts";
import { falSdk, huggingfaceHub, python } from "./python.ts";

export const CLIENTS: Record<string, Client[]> = {
  js: [js],
  python: [python],
  "fal-sdk": [falSdk],
  java: [java],
  "ai-sdk": [aiSdk],
  huggingface: [huggingface, huggingfaceHub],
};

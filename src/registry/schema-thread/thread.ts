/**
 * The schema thread: compiles schemas that owners wrote, and checks values against them. `SchemaThread`
 * starts it, gives it one task at a time, and ends it when a task takes too long.
 */
import { parentPort } from "node:worker_threads";
import { LRUCache } from "lru-cache";
import { parseJson, writeJson } from "../../core/json/exact-json.ts";
import type { Json } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { JsonSchema } from "../../core/models/model.ts";
import { READY } from "../deadline-thread.ts";
import { createInputCheck } from "../input-check.ts";
import { createSchemaCheck } from "../schema-check.ts";
import type { Answer, Task } from "./task.ts";

type Compiled = (value: Json) => unknown;

/** Compiled once per key; the least recently used are evicted. */
const compiled = new LRUCache<string, Compiled>({ max: LIMITS.pipelineChecksCachedMax });

function compile({ kind, coercion, schema: text }: Task): Compiled {
  const schema = parseJson(text) as JsonSchema;
  if (kind === "literals") {
    const check = createSchemaCheck(schema, { every: true });
    return (value) => check(value) ?? [];
  }
  const check = createInputCheck({ schemas: { input: schema, output: {} }, restrictions: [] }, { coercion });
  return kind === "input" ? (value) => check(value) : (value) => check.coerced?.(value) ?? value;
}

function perform(task: Task): Answer {
  const startedAtMs = performance.now();
  const tookMs = (): number => performance.now() - startedAtMs;
  try {
    const check = compiled.get(task.key) ?? compile(task);
    compiled.set(task.key, check);
    const result = task.value === undefined ? "null" : writeJson(check(parseJson(task.value)) as Json);
    return { result, tookMs: tookMs() };
  } catch (error) {
    return { unusable: (error as Error).message, tookMs: tookMs() };
  }
}

parentPort?.on("message", (task: Task) => parentPort?.postMessage(perform(task)));
parentPort?.postMessage(READY);

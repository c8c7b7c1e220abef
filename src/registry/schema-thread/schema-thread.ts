/**
 * Checks values against schemas that owners wrote, in a thread with a deadline: to compile one takes up to a
 * fifth of a second, in which a gateway would answer nobody. Schemas of models and of pipelines that come
 * with the program are compiled in the process itself, at its start.
 */
import { createHash } from "node:crypto";
import { extname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { LRUCache } from "lru-cache";
import { type InputFault, TemperaError } from "../../core/errors/tempera-error.ts";
import { parseJson, writeJson } from "../../core/json/exact-json.ts";
import type { Json, JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { JsonSchema } from "../../core/models/model.ts";
import { DeadlineThread } from "../deadline-thread.ts";
import type { CheckedInput } from "../input-check.ts";
import type { Coercion } from "../lax-values.ts";
import type { Answer, Task, TaskKind } from "./task.ts";

const PROGRAM = pathToFileURL(join(import.meta.dirname, `thread${extname(import.meta.filename)}`));
/** Refused schemas that are remembered, so that each costs its deadline once. */
const REFUSED_MAX = 1_000;

interface Waiting {
  task: Task;
  done: (answer: Answer) => void;
  fail: (error: unknown) => void;
}

/** A schema as exact JSON, with its digest. */
interface SchemaText {
  text: string;
  digest: string;
}

export interface SchemaThreadOptions {
  /** Longest time of one task, in milliseconds. @default LIMITS.schemaTaskMs */
  deadlineMs?: number;
  /** @default "lax" */
  coercion?: Coercion | undefined;
}

/** A schema with the owner who wrote it, whose other schemas wait for it. */
export interface OwnedSchema {
  ownerId: string;
  schema: JsonSchema;
}

/**
 * The thread of a process. It starts with its first task, and again after it was ended. Owners take turns, so
 * that one who asks much waits for himself. All methods reject with `rate_limited` when too many tasks of the
 * owner wait. A schema that takes too long, needs too much memory or cannot be compiled gives a fault.
 */
export class SchemaThread implements AsyncDisposable {
  readonly #deadlineMs: number;
  readonly #coercion: Coercion;
  /** Waiting tasks by owner; the first owner is next. */
  readonly #waiting = new Map<string, Waiting[]>();
  /** The reasons of refused tasks, by key. */
  readonly #refused = new LRUCache<string, string>({ max: REFUSED_MAX });
  /** A route has the same schema at each of its calls. */
  readonly #texts = new WeakMap<JsonSchema, SchemaText>();
  readonly #thread = new DeadlineThread<Task, Answer>({
    program: PROGRAM,
    memoryMib: LIMITS.schemaThreadMib,
  });
  #busy = false;

  constructor({ deadlineMs = LIMITS.schemaTaskMs, coercion = "lax" }: SchemaThreadOptions = {}) {
    this.#deadlineMs = deadlineMs;
    this.#coercion = coercion;
  }

  /** Checks and completes an input. */
  async checkInput(owned: OwnedSchema, raw: Json): Promise<CheckedInput> {
    const answer = await this.#ask("input", owned, raw);
    return "unusable" in answer
      ? { faults: [faultOf(answer.unusable)] }
      : (parseJson(answer.result) as CheckedInput);
  }

  /** Gives the fault of a schema that cannot be used as that of a pipeline's input. */
  async faultOfInputSchema(owned: OwnedSchema): Promise<InputFault | undefined> {
    const answer = await this.#ask("input", owned, {});
    return "unusable" in answer ? faultOf(answer.unusable) : undefined;
  }

  /** Gives an input with its scalars coerced, or the input itself when its schema is refused. */
  async coerced(owned: OwnedSchema, raw: Json): Promise<Json> {
    const answer = await this.#ask("coerced", owned, raw);
    return "unusable" in answer ? raw : parseJson(answer.result);
  }

  /** Checks fields of a node's input; gives all their faults. */
  async checkLiterals(owned: OwnedSchema, literals: JsonObject): Promise<InputFault[]> {
    const answer = await this.#ask("literals", owned, literals);
    return "unusable" in answer ? [faultOf(answer.unusable)] : (parseJson(answer.result) as InputFault[]);
  }

  /** Ends the thread. Tasks that wait are rejected. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#thread[Symbol.asyncDispose]();
  }

  #ask(kind: TaskKind, { ownerId, schema }: OwnedSchema, value: Json): Promise<Answer> {
    const { text, digest } = this.#textOf(schema);
    const coercion = this.#coercion;
    const key = `${kind} ${coercion} ${digest}`;
    const task = { kind, coercion, schema: text, key, value: writeJson(value) };
    const refused = this.#refused.get(key);
    if (refused !== undefined) return Promise.resolve({ unusable: refused });
    const own = this.#waiting.get(ownerId) ?? [];
    if (own.length >= LIMITS.schemaTasksWaitingMax)
      return Promise.reject(
        new TemperaError("rate_limited", "Too many checks of this owner's workflows wait. Try again."),
      );
    return new Promise((done, fail) => {
      own.push({ task, done, fail });
      this.#waiting.set(ownerId, own);
      void this.#work();
    });
  }

  #textOf(schema: JsonSchema): SchemaText {
    const known = this.#texts.get(schema);
    if (known) return known;
    const text = writeJson(schema);
    const made = { text, digest: createHash("sha256").update(text).digest("base64") };
    this.#texts.set(schema, made);
    return made;
  }

  /** Performs the waiting tasks, one after the other. */
  async #work(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    for (let next = this.#next(); next; next = this.#next()) {
      try {
        next.done(await this.#perform(next.task));
      } catch (error) {
        next.fail(error);
      }
    }
    this.#busy = false;
  }

  /** Takes the next task of the owner who has waited longest, and puts that owner last. */
  #next(): Waiting | undefined {
    const [first] = this.#waiting;
    if (!first) return undefined;
    const [ownerId, own] = first;
    const next = own.shift();
    this.#waiting.delete(ownerId);
    if (own.length > 0) this.#waiting.set(ownerId, own);
    return next;
  }

  async #perform(task: Task): Promise<Answer> {
    const answer = await this.#thread.perform(task, this.#deadlineMs);
    if (answer) return answer;
    const unusable = `it takes more than ${this.#deadlineMs} ms or too much memory to check`;
    this.#refused.set(task.key, unusable);
    return { unusable };
  }
}

const faultOf = (reason: string): InputFault => ({
  loc: ["body"],
  msg: `Value error, the workflow's input schema cannot be used: ${reason.slice(0, 500)}`,
  type: "value_error",
});

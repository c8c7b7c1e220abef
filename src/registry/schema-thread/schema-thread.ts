/**
 * Checks values against schemas that owners wrote, in a thread with a deadline: to compile one takes up to a
 * fifth of a second, in which a gateway would answer nobody. Schemas of models and of pipelines that come
 * with the program are compiled in the process itself, at its start.
 */
import { createHash } from "node:crypto";
import { extname, join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
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

/** The result as exact JSON, or the fault of the schema or of the value. */
type Checked = { result: string } | { fault: InputFault };

interface Waiting {
  task: Task & { value: string };
  done: (checked: Checked) => void;
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
  /** Waits. @default a timer for which a process does not stay */
  rest?: (ms: number) => Promise<void>;
  /** @default a thread that runs `thread.ts` */
  thread?: TaskThread;
}

/** Performs one task at a time. */
type TaskThread = Pick<DeadlineThread<Task, Answer>, "perform" | typeof Symbol.asyncDispose>;

/**
 * A schema with the owner who asks for a check against it. That is the caller, not the author of the schema:
 * callers of a public workflow would else use up its author's turns.
 */
export interface RequestedSchema {
  ownerId: string;
  schema: JsonSchema;
}

/**
 * The thread of a process. It starts with its first task, and again after it was ended. Owners take turns,
 * and one whose task took long rests for a multiple of that time: the most of the thread that one owner can
 * take is a fifth. All methods reject with `rate_limited` when too many tasks of the owner wait.
 *
 * A schema that takes too long, needs too much memory or cannot be compiled gives a fault, and is remembered:
 * only when that is so without a value. A value that takes too long gives a fault of its own.
 */
export class SchemaThread implements AsyncDisposable {
  readonly #deadlineMs: number;
  readonly #coercion: Coercion;
  readonly #rest: (ms: number) => Promise<void>;
  /** Waiting tasks by owner; the first owner who does not rest is next. */
  readonly #waiting = new Map<string, Waiting[]>();
  readonly #resting = new Set<string>();
  /** The reasons of refused schemas, by the key of their tasks. */
  readonly #refused = new LRUCache<string, string>({ max: REFUSED_MAX });
  /** A route has the same schema at each of its calls. */
  readonly #texts = new WeakMap<JsonSchema, SchemaText>();
  readonly #thread: TaskThread;
  #busy = false;
  #isClosed = false;
  /** The thread has performed nothing since its start, so nothing else has used up its memory. */
  #isFresh = true;
  /** Time that the thread has spent on the task under way. */
  #tookMs = 0;

  constructor({
    deadlineMs = LIMITS.schemaTaskMs,
    coercion = "lax",
    rest = (ms) => wait(ms, undefined, { ref: false }),
    thread = new DeadlineThread({ program: PROGRAM, memoryMib: LIMITS.schemaThreadMib }),
  }: SchemaThreadOptions = {}) {
    this.#deadlineMs = deadlineMs;
    this.#coercion = coercion;
    this.#rest = rest;
    this.#thread = thread;
  }

  /** Checks and completes an input. */
  async checkInput(requested: RequestedSchema, raw: Json): Promise<CheckedInput> {
    const checked = await this.#ask("input", requested, raw);
    return "fault" in checked ? { faults: [checked.fault] } : (parseJson(checked.result) as CheckedInput);
  }

  /** Gives the fault of a schema that cannot be used as that of a pipeline's input. */
  async faultOfInputSchema(requested: RequestedSchema): Promise<InputFault | undefined> {
    const checked = await this.#ask("input", requested, {});
    return "fault" in checked ? checked.fault : undefined;
  }

  /** Gives an input with its scalars coerced, or the input itself when that cannot be done. */
  async coerced(requested: RequestedSchema, raw: Json): Promise<Json> {
    const checked = await this.#ask("coerced", requested, raw);
    return "fault" in checked ? raw : parseJson(checked.result);
  }

  /** Checks fields of a node's input; gives all their faults. */
  async checkLiterals(requested: RequestedSchema, literals: JsonObject): Promise<InputFault[]> {
    const checked = await this.#ask("literals", requested, literals);
    return "fault" in checked ? [checked.fault] : (parseJson(checked.result) as InputFault[]);
  }

  /** Ends the thread. Tasks that wait are rejected. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    await this.#thread[Symbol.asyncDispose]();
    void this.#work();
  }

  #ask(kind: TaskKind, { ownerId, schema }: RequestedSchema, value: Json): Promise<Checked> {
    const { text, digest } = this.#textOf(schema);
    const coercion = this.#coercion;
    const key = `${kind} ${coercion} ${digest}`;
    const refused = this.#refused.get(key);
    if (refused !== undefined) return Promise.resolve({ fault: faultOfSchema(refused) });
    const own = this.#waiting.get(ownerId) ?? [];
    if (own.length >= LIMITS.schemaTasksWaitingMax)
      return Promise.reject(
        new TemperaError("rate_limited", "Too many checks of workflows that you called wait. Try again."),
      );
    const task = { kind, coercion, schema: text, key, value: writeJson(value) };
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
      const [ownerId, { task, done, fail }] = next;
      try {
        done(await this.#perform(task));
      } catch (error) {
        fail(error);
      }
      this.#letRest(ownerId);
    }
    this.#busy = false;
  }

  /** Takes the next task of the owner who has waited longest, and puts that owner last. */
  #next(): [ownerId: string, Waiting] | undefined {
    for (const [ownerId, own] of this.#waiting) {
      if (this.#resting.has(ownerId) && !this.#isClosed) continue;
      const next = own.shift() as Waiting;
      this.#waiting.delete(ownerId);
      if (own.length > 0) this.#waiting.set(ownerId, own);
      return [ownerId, next];
    }
    return undefined;
  }

  /** Compiles the schema, then checks the value: what takes too long is known by that. */
  async #perform({ value, ...schema }: Task & { value: string }): Promise<Checked> {
    const tooMuch = `takes more than ${this.#deadlineMs} ms or too much memory to check`;
    const wasFresh = this.#isFresh;
    let compiled = await this.#answer(schema);
    // The schemas that the thread had compiled before may have used up its memory.
    if (!compiled && !wasFresh) compiled = await this.#answer(schema);
    if (!compiled) {
      const reason = `it ${tooMuch}`;
      this.#refused.set(schema.key, reason);
      return { fault: faultOfSchema(reason) };
    }
    if ("unusable" in compiled) return { fault: faultOfSchema(compiled.unusable) };
    const checked = await this.#answer({ ...schema, value });
    if (!checked) return { fault: faultOf(`this input ${tooMuch}; make it smaller`) };
    return "unusable" in checked ? { fault: faultOfSchema(checked.unusable) } : checked;
  }

  /** Gives the thread's answer, `undefined` when it needed too much. */
  async #answer(task: Task): Promise<Answer | undefined> {
    const answer = await this.#thread.perform(task, this.#deadlineMs);
    this.#isFresh = answer === undefined;
    this.#tookMs += answer?.tookMs ?? this.#deadlineMs;
    return answer;
  }

  /** Lets an owner rest whose task took long. */
  #letRest(ownerId: string): void {
    const tookMs = this.#tookMs;
    this.#tookMs = 0;
    if (tookMs < Math.min(LIMITS.schemaTaskWithoutRestMs, this.#deadlineMs)) return;
    this.#resting.add(ownerId);
    void this.#rest(tookMs * LIMITS.turnRestFactor).then(() => {
      this.#resting.delete(ownerId);
      void this.#work();
    });
  }
}

const faultOf = (reason: string): InputFault => ({
  loc: ["body"],
  msg: `Value error, ${reason}`,
  type: "value_error",
});

const faultOfSchema = (reason: string): InputFault =>
  faultOf(`the workflow's input schema cannot be used: ${reason.slice(0, 500)}`);

/** The messages between a process and its schema thread. Schemas and values travel as exact JSON texts. */
import type { Coercion } from "../lax-values.ts";

/** `input` checks and completes an input, `coerced` only coerces it, `literals` checks fields of a node. */
export type TaskKind = "input" | "coerced" | "literals";

export interface Task {
  kind: TaskKind;
  coercion: Coercion;
  schema: string;
  /** Names the kind, the coercion and the schema: one compiled check serves all tasks with this key. */
  key: string;
  /** Absent: the schema is only compiled. */
  value?: string;
}

/**
 * The result as exact JSON (`null` where no value was given), or the reason why the schema cannot be used;
 * with the time that this took.
 */
export type Answer = { tookMs: number } & ({ result: string } | { unusable: string });

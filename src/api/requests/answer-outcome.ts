import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { retrieveJson } from "../../core/files/stored-value.ts";
import { unitsOf } from "../../core/owners/usage.ts";
import type { Outcome } from "../../core/requests/request.ts";
import { CACHE_HEADER, falError } from "../../fal/index.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { answerJson, jsonHeaders } from "../http/answer-json.ts";
import {
  followCaller,
  followCallerInJson,
  type OutputAddressDependencies,
} from "../http/output-addresses.ts";
import { piecesBody } from "../http/pieces-body.ts";
import { holdValue } from "../limits/counted-reads.ts";

type AnswerApi = Pick<ApiDependencies, "objects" | "budgets"> & OutputAddressDependencies;

/** The outcome of a request that is sent to its caller, who is its owner. */
export interface SentOutcome {
  outcome: Outcome;
  ownerId: string;
  /** The open call that the answer is a part of, which ends with it. @default a new one for a large answer */
  open?: Disposable;
}

/**
 * Answers with a model's outcome: the bare output, or its error with the error's own status. A large output
 * is an open call of its owner, and counts to the budget of bodies, until its caller has taken it or has
 * left; rejects as `Budget.acquire` and `holdValue` do.
 *
 * @param extraHeaders added to those of the outcome
 */
export async function answerOutcome(
  c: Context,
  api: AnswerApi,
  { outcome, ownerId, open }: SentOutcome,
  extraHeaders: Record<string, string> = {},
): Promise<Response> {
  const billed = { "x-fal-billable-units": String(unitsOf(outcome)) };
  if (!outcome.ok) {
    using _open = open;
    const { status, headers, body } = falError(outcome.error, { userTimeout: outcome.userTimeout === true });
    return answerJson(c, body, status, { ...headers, ...billed, ...extraHeaders });
  }
  const { output, cache } = outcome;
  const headers = { ...billed, ...(cache && { [CACHE_HEADER]: cache }), ...extraHeaders };
  if ("ref" in output) return answerStored(c, api, { ref: output.ref, ownerId, open }, headers);
  using _open = open;
  return answerJson(c, followCaller(c, api, output.inline, ownerId), 200, headers);
}

/** Answers with an output from the object store, as it is stored but for the addresses in it. */
async function answerStored(
  c: Context,
  api: AnswerApi,
  { ref, ownerId, open }: { ref: string; ownerId: string; open: Disposable | undefined },
  headers: Record<string, string>,
): Promise<Response> {
  const { objects, budgets } = api;
  const call = open ?? budgets.openCalls.acquire(ownerId);
  const hold = budgets.bodies.acquire(ownerId, 0);
  const end = (): void => {
    hold[Symbol.dispose]();
    call[Symbol.dispose]();
  };
  try {
    const info = await objects.head(ref);
    // Deleted on purpose, or its retention time has passed: trying again would not help.
    if (!info) throw new TemperaError("payload_gone");
    await holdValue(budgets.bodies, hold, info.bytes);
    const json = await retrieveJson(objects, ref);
    const pieces = await budgets.turns.take(ownerId, () => followCallerInJson(c, api, json, ownerId));
    const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    return new Response(piecesBody(pieces, end), {
      headers: { ...jsonHeaders(c), "content-length": String(bytes), ...headers },
    });
  } catch (error) {
    end();
    throw error;
  }
}

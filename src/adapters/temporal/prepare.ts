import { setTimeout } from "node:timers/promises";
import type { Client } from "@temporalio/client";
import { msToTs } from "@temporalio/common/lib/time.js";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { SEARCH_ATTRIBUTES } from "./search-attributes.ts";

/** gRPC status codes. */
const INVALID_ARGUMENT = 3;
const NOT_FOUND = 5;
const ALREADY_EXISTS = 6;

/**
 * IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD of Temporal's API; its package cannot be imported by name from
 * ES modules.
 */
const KEYWORD = 2;

/** The server's own looks come every 60 s at the latest. */
const KNOWN_WITHIN_MS = 75_000;
const KNOWN_PAUSE_MS = 250;

/**
 * Makes the namespace and the search attributes exist. Harmless to repeat; needs no rights when both are
 * there.
 *
 * Rejects with `temporal_unavailable`, naming what is missing, when they are not there and cannot be made.
 */
export async function prepareTemporal(client: Client): Promise<void> {
  const namespace = client.options.namespace;
  try {
    try {
      await client.workflowService.describeNamespace({ namespace });
    } catch (error) {
      if ((error as { code?: number }).code !== NOT_FOUND) throw error;
      await client.workflowService
        .registerNamespace({ namespace, workflowExecutionRetentionPeriod: msToTs("3 days") })
        .catch(ignore(ALREADY_EXISTS));
    }
    const { customAttributes } = await onceKnown(() =>
      client.connection.operatorService.listSearchAttributes({ namespace }),
    );
    const missing = SEARCH_ATTRIBUTES.filter((name) => !Object.hasOwn(customAttributes ?? {}, name));
    if (missing.length > 0) {
      await client.connection.operatorService
        .addSearchAttributes({
          namespace,
          searchAttributes: Object.fromEntries(missing.map((name) => [name, KEYWORD])),
        })
        .catch(ignore(ALREADY_EXISTS));
    }
    // Also when another process has just made them: whoever starts a workflow must know them.
    await onceKnown(() =>
      client.workflow.count(SEARCH_ATTRIBUTES.map((name) => `${name} = "none"`).join(" OR ")),
    );
  } catch (error) {
    throw new TemperaError(
      "temporal_unavailable",
      `Temporal's namespace "${namespace}" is not ready (${(error as Error).message.split("\n")[0]}); temporal/README.md says how to create it and its search attributes.`,
      { cause: error },
    );
  }
}

/**
 * What was made a moment ago, a namespace or an attribute, is found by the other parts of the server after
 * their next look.
 */
async function onceKnown<T>(ask: () => Promise<T>): Promise<T> {
  for (const giveUpAtMs = performance.now() + KNOWN_WITHIN_MS; ; ) {
    try {
      return await ask();
    } catch (error) {
      const { code } = ((error as { cause?: unknown }).cause ?? error) as { code?: number };
      if ((code !== NOT_FOUND && code !== INVALID_ARGUMENT) || performance.now() > giveUpAtMs) throw error;
      await setTimeout(KNOWN_PAUSE_MS);
    }
  }
}

const ignore = (code: number) => (error: { code?: number }) => {
  if (error.code !== code) throw error;
};

import { setTimeout } from "node:timers/promises";
import type { Client } from "@temporalio/client";
import { msToTs } from "@temporalio/common/lib/time.js";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { SEARCH_ATTRIBUTES } from "./search-attributes.ts";

/** gRPC status codes. */
const ALREADY_EXISTS = 6;
const NOT_FOUND = 5;

/** IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD of Temporal's API; its package cannot be imported by name from ES modules. */
const KEYWORD = 2;

const KNOWN_WITHIN_MS = 20_000;
const KNOWN_PAUSE_MS = 250;

/**
 * Makes the namespace and the search attributes exist. Harmless to repeat; needs no rights when both are there.
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
    const { customAttributes } = await onceKnown(() => client.connection.operatorService.listSearchAttributes({ namespace }));
    const missing = SEARCH_ATTRIBUTES.filter((name) => !Object.hasOwn(customAttributes ?? {}, name));
    if (missing.length === 0) return;
    await client.connection.operatorService
      .addSearchAttributes({ namespace, searchAttributes: Object.fromEntries(missing.map((name) => [name, KEYWORD])) })
      .catch(ignore(ALREADY_EXISTS));
  } catch (error) {
    throw new TemperaError(
      "temporal_unavailable",
      `Temporal's namespace "${namespace}" is not ready (${(error as Error).message.split("\n")[0]}); temporal/README.md says how to create it and its search attributes.`,
      { cause: error },
    );
  }
}

/** A namespace that was made a moment ago is found by the other parts of the server after their next look, which may take ten seconds. */
async function onceKnown<T>(ask: () => Promise<T>): Promise<T> {
  for (const giveUpAtMs = performance.now() + KNOWN_WITHIN_MS; ; ) {
    try {
      return await ask();
    } catch (error) {
      if ((error as { code?: number }).code !== NOT_FOUND || performance.now() > giveUpAtMs) throw error;
      await setTimeout(KNOWN_PAUSE_MS);
    }
  }
}

const ignore = (code: number) => (error: { code?: number }) => {
  if (error.code !== code) throw error;
};

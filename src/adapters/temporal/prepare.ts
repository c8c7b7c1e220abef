import type { Client } from "@temporalio/client";
import { msToTs } from "@temporalio/common/lib/time.js";
import { sleep } from "../../core/concurrency/sleep.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { SEARCH_ATTRIBUTES } from "./search-attributes.ts";

/** gRPC status codes. */
const INVALID_ARGUMENT = 3;
const NOT_FOUND = 5;
const ALREADY_EXISTS = 6;

/**
 * `IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD` of Temporal's API, whose package cannot be imported by name
 * from ES modules.
 */
const KEYWORD = 2;

/** Longest wait until the server knows a new name, in milliseconds. It refreshes its caches every 60 s. */
const KNOWN_WITHIN_MS = 75_000;
const KNOWN_PAUSE_MS = 250;

/**
 * Creates the namespace and the search attributes unless they exist. May be repeated; needs no rights when
 * both exist.
 *
 * Rejects with `temporal_unavailable` when they are missing and cannot be created; the message names them.
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
    // Awaited also when another process has just created them: starting a workflow needs them.
    await onceKnown(() =>
      client.workflow.count(SEARCH_ATTRIBUTES.map((name) => `${name} = "none"`).join(" OR ")),
    );
  } catch (error) {
    throw new TemperaError(
      "temporal_unavailable",
      `Temporal's namespace "${namespace}" is not ready (${(error as Error).message.split("\n")[0]}); ` +
        "temporal/README.md describes how to create it and its search attributes.",
      { cause: error },
    );
  }
}

/** Retries until the server knows the name: other parts of it find a new namespace or attribute later. */
async function onceKnown<T>(ask: () => Promise<T>): Promise<T> {
  for (const giveUpAtMs = performance.now() + KNOWN_WITHIN_MS; ; ) {
    try {
      return await ask();
    } catch (error) {
      const { code } = ((error as { cause?: unknown }).cause ?? error) as { code?: number };
      if ((code !== NOT_FOUND && code !== INVALID_ARGUMENT) || performance.now() > giveUpAtMs) throw error;
      await sleep(KNOWN_PAUSE_MS);
    }
  }
}

const ignore = (code: number) => (error: { code?: number }) => {
  if (error.code !== code) throw error;
};

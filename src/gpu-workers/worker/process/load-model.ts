/** Loading a model version into an engine that has just been started. */
import { setTimeout as sleep } from "node:timers/promises";
import { withAbort } from "../../../core/concurrency/with-abort.ts";
import { writeJson } from "../../../core/json/exact-json.ts";
import type { ModelVersion } from "../../../core/models/model.ts";
import type { EngineClient, LoadEvent } from "../../contract/engine-protocol.ts";

/** Longest time from the break of a connection until the end of its process is noticed. */
const END_NOTICED_WITHIN_MS = 250;

/**
 * Waits until the engine accepts connections, and loads the model version. Resolves with the memory that the
 * engine holds then, in MiB.
 *
 * Rejects with the signal's reason, or with an error whose message continues "The engine of …".
 *
 * @param exited as of `SpawnedEngine`
 * @param onProgress called with what was just loaded
 */
export async function loadModel(
  client: EngineClient,
  model: ModelVersion,
  exited: Promise<string>,
  signal: AbortSignal,
  onProgress: (message: string) => void,
): Promise<number> {
  signal.throwIfAborted();
  // Loses the race when all is well, and rejects when the engine ends one day.
  const died = exited.then((reason) => Promise.reject<never>(new Error(reason)));
  died.catch(() => {});
  const loaded = callLoad(client, model, onProgress).catch(async (error) => {
    const reason = await endOf(exited);
    throw reason ? new Error(reason) : error;
  });
  loaded.catch(() => {});
  return withAbort(Promise.race([died, loaded]), signal);
}

/**
 * Resolves with how the process ended, or `undefined` when it lives on. A broken connection is often the
 * first sign of a dead process; the way the process ended says more, so it gets a moment to be noticed.
 */
export function endOf(
  exited: Promise<string>,
  withinMs: number = END_NOTICED_WITHIN_MS,
): Promise<string | undefined> {
  return Promise.race([exited, sleep(withinMs, undefined, { ref: false })]);
}

async function callLoad(
  client: EngineClient,
  model: ModelVersion,
  onProgress: (message: string) => void,
): Promise<number> {
  const deadline = Date.now() + model.timeouts.loadMs;
  await new Promise<void>((resolve, reject) =>
    client.waitForReady(deadline, (error) =>
      error ? reject(new Error("did not start in time")) : resolve(),
    ),
  );
  const call = client.load(
    {
      endpoint: model.endpoint,
      version: model.version,
      runner: model.runner,
      folder: model.folder,
      parametersJson: writeJson(model.parameters),
      slots: model.slots,
      digest: model.digest,
      checkpoint: model.checkpoint ?? null,
    },
    { deadline },
  );
  try {
    for await (const { progress, loaded } of call as AsyncIterable<LoadEvent>) {
      if (progress) onProgress(`Loaded ${progress.says} (${Math.round(progress.fraction * 100)} %)`);
      if (loaded) return loaded.memory.usedMib;
    }
  } catch (error) {
    const details = (error as { details?: string }).details ?? String(error);
    throw new Error(`could not load: ${details}`);
  }
  throw new Error("ended the load without a result");
}

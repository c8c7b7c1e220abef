import { randomUUID } from "node:crypto";
import type { Readable } from "node:stream";
import { errorInfo, TemperaError } from "../../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../../core/limits.ts";
import {
  newestFirst,
  type PublishedHead,
  type VersionContent,
  type VersionState,
  type WeightFile,
} from "../../../../core/models/published-version.ts";
import { type ArchivedFile, readModelArchive } from "../../../../registry/model-archive.ts";
import type { ManifestCheck } from "../../../../registry/package-check.ts";
import { type Contract, schemaBreaks } from "../../../../registry/schema-breaks.ts";
import type { ApiDependencies } from "../../../dependencies.ts";

export type PublishDependencies = Pick<
  ApiDependencies,
  "objects" | "modelVersions" | "liveRegistry" | "log" | "clock"
> & {
  /** Knows what a model.yaml may say. */
  checkManifest: ManifestCheck;
};

export interface Publishing {
  body: AsyncIterable<Uint8Array>;
  pushedBy: string;
  state: Exclude<VersionState, "removed">;
  /** Publish although callers of the version before break. */
  breaking: boolean;
}

/**
 * Takes an archive in: its weights go to the object store as they come, under names of this push alone; when
 * all of it is there and sound, the version is published in one transaction that makes them its own. Whatever
 * ends it earlier, the weights go again.
 *
 * Rejects with `package_invalid`, `upload_interrupted`, `version_taken`, `schema_breaks`,
 * `store_unavailable`.
 */
export async function publishArchive(
  { objects, modelVersions, liveRegistry, checkManifest, log }: PublishDependencies,
  { body, pushedBy, state, breaking }: Publishing,
): Promise<{ head: PublishedHead; alreadyThere: boolean; breaks: string[] }> {
  const pushId = randomUUID();
  let puts = 0;
  const keys: string[] = [];
  const keep = async (bytes: Readable, size: number): Promise<void> => {
    const key = `weights/${pushId}/${puts++}`;
    // Written down first: a process that is killed leaves bytes that can be found.
    await modelVersions.beginUpload(pushId, key);
    await objects.put(key, bytes, { bytes: size, contentType: "application/octet-stream" });
    keys.push(key);
  };
  try {
    const { model, files } = await readModelArchive(body, { checkManifest, keep });
    const inFolder = liveRegistry.inFolder().filter(({ endpoint }) => endpoint === model.endpoint);
    const there = inFolder.find(({ version }) => version === model.version);
    if (there) throw takenBy(model, there.digest, "in the models folder");
    if (liveRegistry.pipelines().some(({ endpoint }) => endpoint === model.endpoint))
      throw new TemperaError(
        "package_invalid",
        `${model.endpoint} is a pipeline of this server; give the model another name.`,
      );
    let breaks: string[] = [];
    const version = { model, files: weightsOf(files, keys), state, pushedBy, pushId };
    const published = await modelVersions.publish(version, (others) => {
      const enabled = others.filter((other) => other.state === "enabled").map(({ model: each }) => each);
      breaks = breaksOf(model, [...inFolder, ...enabled]);
      if (breaks.length > 0 && !breaking) throw new TemperaError("schema_breaks", breaksText(model, breaks));
    });
    if (published.done === "taken") throw takenBy(model, published.digest, "published");
    return { head: published.head, alreadyThere: published.done === "unchanged", breaks };
  } finally {
    await dropLeftOver(
      { objects, modelVersions },
      await modelVersions.leftOver(pushId).catch(() => []),
    ).catch((error) =>
      log.warn(
        { pushId, err: errorInfo(error) },
        "bytes of a push that was not published stay until the next sweep",
      ),
    );
  }
}

/** Deletes objects of pushes that nobody needs. */
async function dropLeftOver(
  { objects, modelVersions }: Pick<PublishDependencies, "objects" | "modelVersions">,
  keys: string[],
): Promise<void> {
  for (const key of keys) {
    await objects.delete(key);
    await modelVersions.forgetUpload(key);
  }
}

/**
 * Deletes what pushes left whose process was killed, and the weights of versions that were removed long ago.
 * Returns how many objects went.
 */
export async function sweepPushes({
  objects,
  modelVersions,
  clock,
}: Pick<PublishDependencies, "objects" | "modelVersions" | "clock">): Promise<number> {
  await modelVersions.letGo(clock.nowMs() - LIMITS.removedWeightsKeptMs);
  const keys = await modelVersions.abandoned(clock.nowMs() - LIMITS.pushAbandonedMs);
  await dropLeftOver({ objects, modelVersions }, keys);
  return keys.length;
}

const weightsOf = (files: ArchivedFile[], keys: string[]): WeightFile[] =>
  files.map((file, index) => ({ ...file, objectKey: keys[index] as string }));

const takenBy = (
  { endpoint, version, digest }: VersionContent,
  standing: string,
  where: string,
): TemperaError =>
  new TemperaError(
    "version_taken",
    standing === digest
      ? `${endpoint} ${version} lies ${where} already, with this content.`
      : `${endpoint} ${version} is ${where} with other content: digest ${standing}, this one has ${digest}. Raise its version.`,
  );

/** What breaks the callers of the newest version before this one. */
function breaksOf(model: VersionContent, others: (Contract & { version: string })[]): string[] {
  const [before] = others
    .filter(({ version }) => newestFirst(version, model.version) > 0)
    .sort((a, b) => newestFirst(a.version, b.version));
  return before ? schemaBreaks(before, model).map((text) => `${text} (since ${before.version})`) : [];
}

/** Breaks that are named in one answer. */
const BREAKS_NAMED = 20;

const breaksText = ({ endpoint, version }: VersionContent, breaks: string[]): string => {
  const more = breaks.length > BREAKS_NAMED ? `; and ${breaks.length - BREAKS_NAMED} more` : "";
  return `${endpoint} ${version} breaks callers of the version before: ${breaks.slice(0, BREAKS_NAMED).join("; ")}${more}. Keep what was promised, or push with --breaking.`;
};

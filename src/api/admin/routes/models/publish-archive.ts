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
import { TEST_MODELS_REMEDY } from "../../../../core/models/test-models.ts";
import { type ArchivedFile, readModelArchive } from "../../../../registry/packages/model-archive.ts";
import type { ContentCheck } from "../../../../registry/packages/package-content.ts";
import type { SignatureCheck } from "../../../../registry/packages/package-signature.ts";
import { type Contract, schemaBreaks } from "../../../../registry/schemas/schema-breaks.ts";
import type { ApiDependencies } from "../../../dependencies.ts";

export type PublishDependencies = Pick<
  ApiDependencies,
  "objects" | "modelVersions" | "liveRegistry" | "log" | "clock"
> & {
  /** Checks a package, and refuses one that most likely has a slip. */
  checkPackage: ContentCheck;
  /** Absent: packages need no signature. */
  checkSignature?: SignatureCheck | undefined;
};

export interface Publishing {
  body: AsyncIterable<Uint8Array>;
  /** The id of the key that publishes. */
  pushedBy: string;
  state: Exclude<VersionState, "removed">;
  /** Publishes although callers of the version before break. */
  breaking: boolean;
}

/**
 * Publishes a model version from an archive. The weights go to the object store while the archive is read,
 * under keys of this push alone. When the whole archive is valid, one transaction publishes the version and
 * makes the weights its own. After any failure, the weights are deleted again.
 *
 * Rejects with `package_invalid`, `upload_interrupted`, `version_taken`, `breaking_schema_change`,
 * `store_unavailable`.
 */
export async function publishArchive(
  api: PublishDependencies,
  { body, pushedBy, state, breaking }: Publishing,
): Promise<{ head: PublishedHead; alreadyThere: boolean; breaks: string[] }> {
  const { objects, modelVersions, checkPackage, checkSignature, log } = api;
  const pushId = randomUUID();
  const keys: string[] = [];
  let puts = 0;
  const storeWeights = async (bytes: Readable, size: number): Promise<void> => {
    const key = `weights/${pushId}/${puts++}`;
    // The key is recorded first, so that the sweep finds the bytes of a process that was killed.
    await modelVersions.beginUpload(pushId, key);
    await objects.put(key, bytes, { bytes: size, contentType: "application/octet-stream" });
    keys.push(key);
  };
  try {
    const { model, files, signed } = await readModelArchive(body, {
      checkContent: checkPackage,
      checkSignature,
      storeWeights,
    });
    const inFolder = folderVersions(api, model);
    let breaks: string[] = [];
    const version = {
      model,
      files: weightsOf(files, keys),
      state,
      pushedBy,
      pushId,
      ...(signed && { signed }),
    };
    const published = await modelVersions.publish(version, (others) => {
      const enabled = others.filter((other) => other.state === "enabled").map(({ model: each }) => each);
      breaks = breaksOf(model, [...inFolder, ...enabled]);
      if (breaks.length > 0 && !breaking)
        throw new TemperaError("breaking_schema_change", breaksText(model, breaks));
    });
    if (published.done === "taken") throw takenBy(model, published.digest, "published");
    return { head: published.head, alreadyThere: published.done === "unchanged", breaks };
  } finally {
    const left = await modelVersions.abandonPush(pushId).catch(() => []);
    await deleteObjects(api, left).catch((error) =>
      log.warn(
        { pushId, err: errorInfo(error) },
        "bytes of a push that was not published stay until the next sweep",
      ),
    );
  }
}

/**
 * Returns the versions of a model's endpoint in the models folder. Throws `version_taken` when the model's
 * own version is among them, and `package_invalid` when the endpoint is a built-in pipeline or withheld.
 */
function folderVersions({ liveRegistry }: PublishDependencies, model: VersionContent): ModelInFolder[] {
  if (liveRegistry.isWithheld?.(model.endpoint))
    throw new TemperaError(
      "package_invalid",
      `${model.endpoint} is the name of a test model, and this server serves none; ` +
        `give the model another name, or serve them: ${TEST_MODELS_REMEDY}.`,
    );
  const inFolder = liveRegistry.inFolder().filter(({ endpoint }) => endpoint === model.endpoint);
  const same = inFolder.find(({ version }) => version === model.version);
  if (same) throw takenBy(model, same.digest, "in the models folder");
  if (liveRegistry.pipelines().some(({ endpoint }) => endpoint === model.endpoint))
    throw new TemperaError(
      "package_invalid",
      `${model.endpoint} is a pipeline of this server; give the model another name.`,
    );
  return inFolder;
}

type ModelInFolder = ReturnType<PublishDependencies["liveRegistry"]["inFolder"]>[number];

async function deleteObjects(
  { objects, modelVersions }: Pick<PublishDependencies, "objects" | "modelVersions">,
  keys: string[],
): Promise<void> {
  for (const key of keys) {
    await objects.delete(key);
    await modelVersions.forgetUpload(key);
  }
}

/**
 * Deletes the objects of pushes whose process was killed, and the weights of versions that were removed more
 * than `LIMITS.removedWeightsKeptMs` ago. Returns the number of deleted objects.
 */
export async function sweepPushes({
  objects,
  modelVersions,
  clock,
}: Pick<PublishDependencies, "objects" | "modelVersions" | "clock">): Promise<number> {
  await modelVersions.releaseWeights(clock.nowMs() - LIMITS.removedWeightsKeptMs);
  const keys = await modelVersions.abandoned(clock.nowMs() - LIMITS.pushAbandonedMs);
  await deleteObjects({ objects, modelVersions }, keys);
  return keys.length;
}

const weightsOf = (files: ArchivedFile[], keys: string[]): WeightFile[] =>
  files.map((file, index) => ({ ...file, objectKey: keys[index] as string }));

const takenBy = (
  { endpoint, version, digest }: VersionContent,
  existingDigest: string,
  location: "in the models folder" | "published",
): TemperaError =>
  new TemperaError(
    "version_taken",
    existingDigest === digest
      ? `${endpoint} ${version} is already ${location}, with this content.`
      : `${endpoint} ${version} is already ${location} with other content: digest ${existingDigest}, ` +
          `this one's is ${digest}. Raise the version.`,
  );

/** Returns the changes that break callers of the newest version before this one. */
function breaksOf(model: VersionContent, others: (Contract & { version: string })[]): string[] {
  const [before] = others
    .filter(({ version }) => newestFirst(version, model.version) > 0)
    .sort((a, b) => newestFirst(a.version, b.version));
  return before ? schemaBreaks(before, model).map((text) => `${text} (since ${before.version})`) : [];
}

/** The number of breaks that one error message names. */
const BREAKS_NAMED = 20;

function breaksText({ endpoint, version }: VersionContent, breaks: string[]): string {
  const more = breaks.length > BREAKS_NAMED ? `; and ${breaks.length - BREAKS_NAMED} more` : "";
  return (
    `${endpoint} ${version} breaks callers of the version before: ` +
    `${breaks.slice(0, BREAKS_NAMED).join("; ")}${more}. Restore what callers rely on, or push with ` +
    `--breaking.`
  );
}

import type { FileStore } from "../../core/files/file-store.ts";
import { decide } from "../../core/files/lifecycle.ts";
import type { Clock } from "../../core/operations/clock.ts";
import { parseFilePath, TREES } from "../../fal/index.ts";

/**
 * Returns the object key that an address of this platform names, if `ownerId` may read the object; otherwise
 * `undefined`, as for the addresses of other servers.
 *
 * Only the path of the address counts, not its host: callers reach one gateway by many names, and the path
 * holds a digest or a random id that nobody else has.
 */
export type ResolveFileUrl = (url: string, ownerId: string) => Promise<string | undefined>;

/** Creates a resolver on the records of files. */
export function createFileUrlResolver({
  files,
  clock,
}: {
  files: Pick<FileStore, "find">;
  clock: Clock;
}): ResolveFileUrl {
  return async function resolveFileUrl(url, ownerId) {
    const path = URL.canParse(url) ? new URL(url).pathname : "";
    const start = path.indexOf(`${TREES.files.prefix}/`);
    const named = start < 0 ? undefined : parseFilePath(path.slice(start + TREES.files.prefix.length + 1));
    if (named?.kind === "artifact") return `artifacts/${named.path}`;
    if (named?.kind !== "file") return undefined;
    const file = await files.find(named.fileId);
    if (!file?.stored || file.name !== named.name) return undefined;
    const { expiresAtMs } = file.stored;
    if (expiresAtMs !== undefined && expiresAtMs <= clock.nowMs()) return undefined;
    return decide(file.lifecycle.acl, file.ownerId, [ownerId]) === "allow" ? file.objectKey : undefined;
  };
}

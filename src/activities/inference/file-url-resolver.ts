import { decide } from "../../core/files/lifecycle.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { FileStore } from "../../core/files/file-store.ts";
import { parseFilePath, TREES } from "../../fal/index.ts";

/**
 * The key of the object that an address of ours names and that `ownerId` may read; `undefined` for any other
 * address.
 *
 * An address is known by its path alone, whatever host stands before it: callers reach one gateway by many
 * names, and a path holds a digest or a random id that nobody else has.
 */
export const createOwnKey =
  ({ files, clock }: { files: Pick<FileStore, "find">; clock: Clock }) =>
  async (url: string, ownerId: string): Promise<string | undefined> => {
    const path = URL.canParse(url) ? new URL(url).pathname : "";
    const at = path.indexOf(`${TREES.files.prefix}/`);
    const named = at < 0 ? undefined : parseFilePath(path.slice(at + TREES.files.prefix.length + 1));
    if (named?.kind === "artifact") return `artifacts/${named.path}`;
    if (named?.kind !== "file") return undefined;
    const file = await files.find(named.fileId);
    if (!file?.stored || file.name !== named.name) return undefined;
    const { expiresAtMs } = file.stored;
    if (expiresAtMs !== undefined && expiresAtMs <= clock.nowMs()) return undefined;
    return decide(file.lifecycle.acl, file.ownerId, [ownerId]) === "allow" ? file.objectKey : undefined;
  };

import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startRedis } from "../../src/dev/services/redis.ts";

/**
 * Starts a Redis for one test, whose state can be exchanged for an older copy; stopped by `await using`.
 */
export async function startOwnRedis() {
  const root = await mkdtemp(join(tmpdir(), "tempera-redis-"));
  const [folder, copy] = [join(root, "data"), join(root, "copy")];
  let redis = await startRedis({ folder, log: () => {} });
  const { port, url } = redis;
  const restart = async () => {
    redis = await startRedis({ folder, port, log: () => {} });
  };
  return {
    url,
    get pid() {
      return redis.pid;
    },
    /** Keeps a copy of what Redis has now. */
    async keepCopy() {
      await redis.stop();
      await cp(folder, copy, { recursive: true });
      await restart();
    },
    async restoreCopy() {
      await redis.stop();
      await rm(folder, { recursive: true });
      await cp(copy, folder, { recursive: true });
      await restart();
    },
    async [Symbol.asyncDispose]() {
      await redis.stop();
      await rm(root, { recursive: true, force: true });
    },
  };
}

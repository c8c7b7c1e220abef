import { join } from "node:path";

/** Names the file in which the embedded default keeps the key that it made at its first start. */
export function keyFile(dataFolder: string): string {
  return join(dataFolder, "key");
}

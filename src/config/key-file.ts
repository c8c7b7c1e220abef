import { join } from "node:path";

/** Where the embedded default keeps the key it made at its first start. */
export const keyFile = (dataFolder: string): string => join(dataFolder, "key");

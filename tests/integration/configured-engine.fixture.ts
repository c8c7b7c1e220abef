/**
 * An engine that only a configuration names. Its answer says what of the machine it has: variables and
 * folders.
 */
import { closeSync, openSync } from "node:fs";
import { serveEngine } from "../../src/gpu-workers/engine-sdk/engine-server.ts";

export interface Look {
  arguments: string[];
  variables: string[];
  /** Those of the paths of the input. */
  readable: string[];
}

const isReadable = (path: string): boolean => {
  try {
    closeSync(openSync(path, "r"));
    return true;
  } catch (error) {
    // A terminal may be opened, although an engine has none.
    return (error as NodeJS.ErrnoException).code === "ENXIO";
  }
};

void serveEngine({
  describe: () => ({
    runners: ["look"],
    supportsStreaming: false,
    artifactTypes: [],
    maxBatch: 1,
    supportsCheckpoint: false,
  }),
  load: async (_load, progress) => progress(1, "nothing"),
  run: async ({ input }) => {
    const output: Look = {
      arguments: process.argv.slice(2, -1),
      variables: Object.keys(process.env),
      readable: (input.paths as string[]).filter(isReadable),
    };
    return { output: { ...output }, inferenceMs: 1 };
  },
});

import { defineConfig } from "vitest/config";

/**
 * The engine contract, on engines written in Python. A run of its own: they need packages that `npm test`
 * does without.
 */
export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ["conformance/*.test.ts"],
    pool: "forks",
    maxWorkers: 1,
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});

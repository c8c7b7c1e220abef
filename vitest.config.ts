import { defineConfig } from "vitest/config";

/**
 * Times after which a test hangs, far beyond what it needs on a machine that is busy with other work. Every
 * project has them: a project inherits nothing from the root.
 */
const hangs = { testTimeout: 1_200_000, hookTimeout: 1_200_000, expect: { poll: { timeout: 300_000 } } };
const services = { ...hangs, globalSetup: ["tests/setup/services.ts"] };

/**
 * Defines three projects, so that a run starts only what it needs:
 * - `unit`: tests beside the source, without services, in milliseconds
 * - `services`: real Temporal, PostgreSQL, Redis and MinIO, started once for the run
 * - `faults`: after all others, since a file runs a platform of its own, whose processes it kills
 *
 * Two files run at a time: two platforms are what two cores and 8 GiB of memory carry.
 */
export default defineConfig({
  test: {
    pool: "forks",
    retry: 0,
    reporters: process.env.CI ? ["default", "json", "github-actions"] : ["default", "json"],
    outputFile: { json: ".test-report.json" },
    teardownTimeout: 30_000,
    projects: [
      {
        test: {
          name: "unit",
          include: ["src/**/*.test.ts", "scripts/**/*.test.ts", "tests/production/**/*.test.ts"],
          exclude: ["src/adapters/**", "src/dev/**"],
          ...hangs,
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...services,
          name: "services",
          include: ["tests/**/*.test.ts", "src/adapters/**/*.test.ts", "src/dev/**/*.test.ts"],
          exclude: ["tests/chaos/**", "tests/production/**"],
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...services,
          name: "faults",
          include: ["tests/chaos/**/*.test.ts"],
          maxWorkers: 2,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});

import { defineConfig } from "vitest/config";

const services = { globalSetup: ["tests/setup/services.ts"], testTimeout: 60_000, hookTimeout: 120_000 };

/**
 * Defines three projects, so that a run starts only what it needs:
 * - `unit`: tests beside the source, without services, in milliseconds
 * - `services`: real Temporal, PostgreSQL, Redis and MinIO, started once for the run
 * - `faults`: the same services; one file after another, after all others, since the tests kill processes
 */
export default defineConfig({
  test: {
    pool: "forks",
    retry: 0,
    // Time to wait for an expected state. It is generous: tests of speed measure it themselves.
    expect: { poll: { timeout: 20_000 } },
    reporters: process.env.CI ? ["default", "json", "github-actions"] : ["default", "json"],
    outputFile: { json: ".test-report.json" },
    teardownTimeout: 30_000,
    projects: [
      {
        test: {
          name: "unit",
          include: ["src/**/*.test.ts", "scripts/**/*.test.ts", "tests/production/**/*.test.ts"],
          exclude: ["src/adapters/**", "src/dev/**"],
          testTimeout: 10_000,
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
          testTimeout: 180_000,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});

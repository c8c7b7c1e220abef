import { defineConfig } from "vitest/config";

const services = { globalSetup: ["tests/setup/services.ts"], testTimeout: 60_000, hookTimeout: 120_000 };

/**
 * Three projects, so that a run starts only what it needs:
 * - `unit`: beside the source, no service, milliseconds
 * - `services`: real Temporal, PostgreSQL, Redis and MinIO, started once for the run
 * - `faults`: the same, one file after another and after all others, since they kill processes
 */
export default defineConfig({
  test: {
    pool: "forks",
    retry: 0,
    // How long a test waits for what must come says nothing of how fast it is: what must be quick is measured.
    expect: { poll: { timeout: 20_000 } },
    reporters: process.env.CI ? ["default", "json", "github-actions"] : ["default", "json"],
    outputFile: { json: ".test-report.json" },
    teardownTimeout: 30_000,
    projects: [
      {
        test: {
          name: "unit",
          include: ["src/**/*.test.ts", "scripts/**/*.test.ts"],
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
          exclude: ["tests/chaos/**"],
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
